/* What every page does beyond being read: switches stay as they were left. */
"use strict";
(() => {
  const keepSwitches = () => {
    const switches = document.querySelectorAll(".controls input");
    for (const input of switches) {
      const name = "vitreport " + input.name;
      try {
        if (localStorage.getItem(name) === input.id) input.checked = true;
        input.addEventListener("change", () => localStorage.setItem(name, input.id));
      } catch { return; /* a browser that keeps nothing for pages from a disk */ }
    }
  };

  keepSwitches();
})();
