/* What every page does beyond being read: switches, and the way back to the table, stay as they were left. */
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

  const keepTable = () => {
    for (const link of document.querySelectorAll('header.site a[href$="index.html#images"]')) {
      try {
        const place = sessionStorage.getItem("vitreport table " + link.href.split("#")[0]);
        if (place && !document.getElementById("tools")) link.hash = place;
      } catch { return; /* as above */ }
    }
  };

  keepSwitches();
  keepTable();
})();
