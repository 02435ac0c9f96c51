/* The table of images: search, filter, sort, and pages of it.

   Its data lies in scripts of some thousand images each, since pages opened from a disk may not fetch. A page
   of the table loads the ones that it shows; to search or to sort takes them all, once. What is asked for
   stands in the address, so that going back, or a link, finds the table as it was left. */
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const tools = byId("tools");

  const NUMBER = 4, VERDICT = 5, LAST = 7;
  const scripts = tools.dataset.shards.split(" ").filter(Boolean);
  const each = Number(tools.dataset.each), size = Number(tools.dataset.rows);
  const total = Number(tools.dataset.images);
  const body = document.querySelector("table.images tbody");
  const heads = [...document.querySelectorAll("th[data-sort]")];
  const collator = new Intl.Collator(undefined, { numeric: true });
  const fresh = { find: "", show: "", sort: 0, down: false, first: 0 };
  let asked = { ...fresh };

  /* Data */

  const loading = new Map();
  const load = (number) => {
    if (!loading.has(number)) {
      loading.set(number, new Promise((resolve) => {
        const script = document.createElement("script");
        script.src = "assets/" + scripts[number];
        script.addEventListener("load", resolve);
        document.head.append(script);
      }));
    }
    return loading.get(number);
  };
  const loadAll = () => Promise.all(scripts.map((_, number) => load(number)));
  const image = (at) => window.vitreport_images[Math.floor(at / each)][at % each];

  const searched = [];
  const textOf = (at) => searched[at] ??= image(at).map((field, column) =>
    column === 0 || column === NUMBER || column === VERDICT
      || (column === LAST && image(at)[VERDICT] !== "quarantined") ? "" : field,
  ).join("\n").toLowerCase();

  const orders = new Map();
  const order = ({ sort, down }) => {
    const key = `${sort} ${down}`;
    if (!orders.has(key)) {
      const all = Array.from({ length: total }, (_, at) => at);
      if (sort) {
        const fields = all.map((at) => image(at)[sort]);
        const known = [...new Set(fields)].filter((field) => field !== "" && field !== null);
        known.sort(sort === NUMBER ? (one, two) => one - two : collator.compare);
        if (down) known.reverse();
        const places = new Map(known.map((field, place) => [field, place])); // without one: empty, and last
        const ranks = fields.map((field) => places.get(field) ?? known.length);
        all.sort((one, two) => ranks[one] - ranks[two] || one - two);
      }
      orders.set(key, all);
    }
    return orders.get(key);
  };

  const fitting = ({ find, show, ...sorting }) => {
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    return order(sorting).filter((at) => (!show || image(at)[VERDICT] === show)
      && words.every((word) => textOf(at).includes(word)));
  };

  /* Rows */

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

  const rowOf = (fields) => {
    const [id, name, label, predicted, score, verdict, group, last, text = percent(score)] = fields;
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
    only.colSpan = heads.filter((head) => head.offsetParent).length + 1; // more would make a column of its own
    row.append(only);
    return row;
  };

  /* What is asked for */

  let found = null; // null: every image, in the order of the data
  let turns = 0;

  const show = () => {
    const many = found ? found.length : total;
    asked.first = Math.min(asked.first, Math.max(0, size * Math.floor((many - 1) / size)));
    const shown = Array.from({ length: Math.min(size, many - asked.first) }, (_, place) =>
      image(found ? found[asked.first + place] : asked.first + place));
    body.replaceChildren(...(shown.length ? shown.map(rowOf) : [emptyRow()]));
    byId("back").disabled = asked.first === 0;
    byId("on").disabled = asked.first + size >= many;
    byId("pager").hidden = many <= size;
    const number = (count) => count.toLocaleString("en");
    const range = many > size ? `${number(asked.first + 1)} to ${number(asked.first + shown.length)} of ` : "";
    byId("count").textContent = `${range}${number(many)} ${many === 1 ? "image" : "images"}`;
  };

  const draw = async () => {
    turns += 1;
    const turn = turns;
    if (asked.find || asked.show || asked.sort) {
      if (loading.size < scripts.length) byId("count").textContent = "Reading the table …";
      await loadAll();
      if (turn !== turns) return;
      found = fitting(asked);
    } else {
      const last = Math.min(asked.first + size, total) - 1;
      await Promise.all([load(Math.floor(asked.first / each)), load(Math.floor(last / each))]);
      if (turn !== turns) return;
      found = null;
    }
    show();
  };

  const address = () => {
    const words = new URLSearchParams();
    if (asked.find) words.set("find", asked.find);
    if (asked.show) words.set("show", asked.show);
    if (asked.sort) words.set("sort", asked.sort);
    if (asked.down) words.set("down", 1);
    if (asked.first) words.set("page", asked.first / size + 1);
    return words.size ? "#images?" + words : "";
  };

  let noting = 0;
  const note = () => { // browsers refuse a page that changes its address with every key
    clearTimeout(noting);
    const place = address();
    if (place !== (location.hash.startsWith("#images?") ? location.hash : "")) {
      history.replaceState(history.state, "", place || "#images");
    }
    try {
      sessionStorage.setItem("vitreport table " + location.href.split(/[?#]/)[0], place);
    } catch { /* a browser that keeps nothing for pages from a disk */ }
  };

  const ask = (wish) => {
    asked = { ...asked, first: 0, ...wish };
    clearTimeout(noting);
    noting = setTimeout(note, 300);
    return draw();
  };

  const markHeads = () => {
    for (const head of heads) {
      if (Number(head.dataset.sort) !== asked.sort) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", asked.down ? "descending" : "ascending");
    }
  };

  const restore = () => {
    const words = new URLSearchParams(location.hash.startsWith("#images?") ? location.hash.slice(8) : "");
    const column = heads.find((head) => head.dataset.sort === words.get("sort"));
    asked = {
      find: words.get("find") ?? "",
      show: words.get("show") ?? "",
      sort: column ? Number(column.dataset.sort) : 0,
      down: words.has("down"),
      first: Math.max(0, (parseInt(words.get("page"), 10) || 1) - 1) * size,
    };
    if (!asked.find && !asked.show && !asked.sort && asked.first >= total) asked.first = 0;
    byId("find").value = asked.find;
    byId("show").value = asked.show;
    markHeads();
    return draw();
  };

  const turn = async (by) => {
    await ask({ first: asked.first + by });
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

  const start = async () => {
    for (const head of heads) {
      const button = cell("button", head.textContent), column = Number(head.dataset.sort);
      button.type = "button";
      button.addEventListener("click", () => {
        const down = asked.sort === column && !asked.down;
        ask({ sort: column, down });
        markHeads();
      });
      head.replaceChildren(button);
    }
    document.addEventListener("keydown", seek);
    byId("find").addEventListener("focus", loadAll);
    byId("find").addEventListener("input", () => ask({ find: byId("find").value }));
    byId("show").addEventListener("change", () => ask({ show: byId("show").value }));
    byId("back").addEventListener("click", () => turn(-size));
    byId("on").addEventListener("click", () => turn(size));
    addEventListener("pagehide", note);
    addEventListener("hashchange", () => {
      if (location.hash.startsWith("#images?")) restore();
    });
    const came = performance.getEntriesByType("navigation")[0];
    await restore();
    if (location.hash.startsWith("#images?") && came && came.type === "navigate") byId("images").scrollIntoView();
    tools.dataset.ready = "";
  };

  if (!scripts.length) return;
  tools.hidden = false;
  if (document.readyState === "complete") start();
  else addEventListener("load", start);
})();
