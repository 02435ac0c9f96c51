/* The table of images: search, filter, sort, and pages of it. */
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const NUMBER = 4, VERDICT = 5, LAST = 7;

  const percent = (share) => {
    if (share === null) return "";
    if (share > 0 && share < 0.0005) return "<\u00a00.1\u00a0%";
    if (share >= 0.9995 && share < 1) return ">\u00a099.9\u00a0%";
    return (100 * share).toFixed(1) + "\u00a0%";
  };

  const cell = (tag, text, name) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.textContent = text;
    return made;
  };

  const rowOf = (image) => {
    const [id, name, label, predicted, score, verdict, group, last, text = percent(score)] = image;
    const row = document.createElement("tr");
    const picture = cell("td", "", "thumb"), file = cell("th", "");
    file.scope = "row";
    row.append(picture, file, cell("td", label, "label"));
    if (verdict === "quarantined") {
      file.textContent = name;
      row.append(cell("td", last, "predicted reason"), cell("td", "", "number"));
    } else {
      const thumb = document.createElement("img");
      thumb.alt = "";
      thumb.width = thumb.height = 48;
      thumb.loading = "lazy";
      thumb.src = "assets/" + last;
      picture.append(thumb);
      const link = cell("a", name);
      link.href = "images/" + encodeURIComponent(id) + ".html";
      file.append(link);
      row.append(cell("td", predicted, "predicted"), cell("td", text, "number"));
    }
    const said = cell("td", "", "said");
    said.append(cell("span", verdict === "quarantined" ? "set aside" : verdict, "verdict " + verdict));
    row.append(said, cell("td", group, "group"));
    return row;
  };

  const emptyRow = () => {
    const row = document.createElement("tr"), only = cell("td", "No image fits.", "none");
    const heads = [...document.querySelectorAll("table.images thead th")];
    only.colSpan = heads.filter((head) => head.offsetParent).length; // one more would make a column of its own
    row.append(only);
    return row;
  };

  const startTable = (tools, images) => {
    const body = document.querySelector("table.images tbody");
    const heads = [...document.querySelectorAll("th[data-sort]")];
    const size = Number(tools.dataset.rows);
    const collator = new Intl.Collator(undefined, { numeric: true });
    const text = images.map((image) => image.map((field, at) =>
      at === NUMBER || at === VERDICT || at === 0 || (at === LAST && image[VERDICT] !== "quarantined") ? "" : field,
    ).join("\n").toLowerCase());
    let order = images.map((_, at) => at);
    let found = order;
    let first = 0;

    const draw = () => {
      const shown = found.slice(first, first + size);
      body.replaceChildren(...(shown.length ? shown.map((at) => rowOf(images[at])) : [emptyRow()]));
      byId("back").disabled = first === 0;
      byId("on").disabled = first + size >= found.length;
      byId("pager").hidden = found.length <= size;
      const range = found.length > size ? `${first + 1} to ${first + shown.length} of ` : "";
      byId("count").textContent = `${range}${found.length.toLocaleString("en")} ${found.length === 1 ? "image" : "images"}`;
    };

    const filter = () => {
      const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
      const verdict = byId("show").value;
      found = order.filter((at) => (!verdict || images[at][VERDICT] === verdict)
        && words.every((word) => text[at].includes(word)));
      first = 0;
      draw();
    };

    const sort = (head) => {
      const column = Number(head.dataset.sort);
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const empty = (field) => field === "" || field === null;
      const sign = down ? -1 : 1;
      order = images.map((_, at) => at).sort((one, two) => {
        const a = images[one][column], b = images[two][column];
        if (empty(a) || empty(b)) return empty(a) - empty(b) || one - two;
        return sign * (column === NUMBER ? a - b : collator.compare(a, b)) || one - two;
      });
      filter();
    };

    const turn = (by) => {
      first += by;
      draw();
      byId("images").scrollIntoView();
      const [pressed, other] = by < 0 ? ["back", "on"] : ["on", "back"];
      if (byId(pressed).disabled) byId(other).focus({ preventScroll: true }); // a disabled button loses the focus
    };

    const seek = (event) => {
      const typing = event.target.closest("input, textarea, select");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      byId("find").focus();
      byId("find").select();
    };

    for (const head of heads) {
      const button = cell("button", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => sort(head));
      head.replaceChildren(button);
    }
    document.addEventListener("keydown", seek);
    byId("find").addEventListener("input", filter);
    byId("show").addEventListener("change", filter);
    byId("back").addEventListener("click", () => turn(-size));
    byId("on").addEventListener("click", () => turn(size));
    byId("pager").hidden = found.length <= size;
    if (byId("find").value || byId("show").value) filter();
    else draw();
  };

  const loadTable = (tools) => {
    const names = tools.dataset.shards.split(" ").filter(Boolean);
    let missing = names.length;
    for (const name of names) {
      const script = document.createElement("script");
      script.src = "assets/" + name;
      script.addEventListener("load", () => {
        missing -= 1;
        if (missing === 0) {
          startTable(tools, window.vitreport_images.flat());
          tools.dataset.ready = "";
        }
      });
      document.head.append(script);
    }
  };

  const tools = byId("tools");
  if (tools) {
    tools.hidden = false;
    if (document.readyState === "complete") loadTable(tools);
    else window.addEventListener("load", () => loadTable(tools));
  }
})();
