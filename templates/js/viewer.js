/* One map enlarged, or two on each other with a divider that moves. The pictures are those of the page. */
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const viewer = byId("viewer");
  if (!viewer) return;
  const PHOTO = "photo", NONE = "none";
  const KINDS = ["signed", "one-scale", "in-pixels"];
  const canvas = byId("canvas"), stage = byId("stage"), left = byId("left"), right = byId("right");
  const divide = byId("divide"), opacity = byId("opacity"), zoom = byId("zoom");
  const photo = document.querySelector(".original img");
  const figures = [...document.querySelectorAll("figure.map:not(.bare)")].filter((figure) => figure.querySelector("img.layer"));
  const words = (figure) => [...figure.querySelectorAll(".name, .for")].map((part) => part.textContent.trim()).join(", ");

  const option = (text, value) => new Option(text, value);
  const fill = (select) => {
    select.append(option("the photo", PHOTO));
    const groups = new Map();
    figures.forEach((figure, at) => {
      const title = figure.closest("section").querySelector("h2, h3").textContent.trim();
      if (!groups.has(title)) {
        groups.set(title, document.createElement("optgroup"));
        groups.get(title).label = title;
        select.append(groups.get(title));
      }
      groups.get(title).append(option(words(figure), at));
    });
  };

  const pane = (choice, name) => {
    const made = document.createElement("div");
    made.className = `pane ${name}`;
    if (choice === PHOTO) {
      const plain = photo.cloneNode();
      plain.className = "plain";
      made.append(plain);
      return made;
    }
    const figure = figures[choice];
    for (const kind of KINDS) made.classList.toggle(kind, figure.classList.contains(kind));
    const stack = figure.querySelector(".stack").cloneNode(true);
    stack.querySelector("button")?.remove();
    for (const image of stack.querySelectorAll("img")) image.loading = "eager";
    made.append(stack);
    return made;
  };

  const caption = (place, choice) => {
    place.replaceChildren();
    if (choice === PHOTO || choice === NONE) return;
    for (const ramp of figures[choice].querySelectorAll(".ramp")) place.append(ramp.cloneNode(true));
    for (const kind of KINDS) place.classList.toggle(kind, figures[choice].classList.contains(kind));
  };

  const blend = () => {
    const share = opacity.value / 100;
    for (const layer of canvas.querySelectorAll(".layer")) layer.style.opacity = share;
    byId("opacity-said").textContent = `${opacity.value}\u00a0%`;
  };

  const part = () => {
    const cover = canvas.querySelector(".cover"), line = canvas.querySelector(".line");
    if (!cover) return;
    cover.style.clipPath = `inset(0 0 0 ${divide.value}%)`;
    line.style.left = `${divide.value}%`;
  };

  const magnify = () => {
    const before = stage.scrollWidth;
    const x = stage.scrollLeft + stage.clientWidth / 2, y = stage.scrollTop + stage.clientHeight / 2;
    canvas.style.width = `${zoom.value}%`;
    const grown = stage.scrollWidth / before;
    stage.scrollLeft = x * grown - stage.clientWidth / 2;
    stage.scrollTop = y * grown - stage.clientHeight / 2;
    stage.classList.toggle("zoomed", zoom.value > 100);
    byId("zoom-said").textContent = `${zoom.value / 100} ×`;
  };

  const draw = () => {
    const two = right.value !== NONE;
    canvas.replaceChildren(pane(left.value, "base"));
    if (two) {
      const line = document.createElement("div");
      line.className = "line";
      canvas.append(pane(right.value, "cover"), line);
    }
    divide.disabled = !two;
    viewer.classList.toggle("two", two);
    byId("viewer-title").textContent = two ? "Compare" : "Enlarged";
    caption(byId("left-caption"), left.value);
    caption(byId("right-caption"), right.value);
    blend();
    part();
  };

  const switches = byId("viewer-switches");
  const copySwitches = () => {
    switches.replaceChildren();
    for (const fieldset of document.querySelectorAll("#controls fieldset:not(.strength)")) {
      const copy = fieldset.cloneNode(true);
      for (const input of copy.querySelectorAll("input")) {
        const original = byId(input.id);
        input.removeAttribute("id");
        input.name = `viewer-${input.name}`;
        input.checked = original.checked;
        input.addEventListener("change", () => original.click());
      }
      switches.append(copy);
    }
  };

  const open = (one, two) => {
    if (!left.options.length) {
      fill(left);
      right.append(option("nothing", NONE));
      fill(right);
      stage.style.setProperty("--ratio", photo.width / photo.height);
    }
    left.value = one;
    right.value = two;
    const shown = getComputedStyle(figures[0].querySelector(".layer.own") || figures[0].querySelector(".layer")).opacity;
    opacity.value = Math.round(100 * (shown > 0 ? shown : 0.62));
    divide.value = 50;
    zoom.value = 100;
    copySwitches();
    viewer.showModal();
    draw();
    magnify();
  };

  figures.forEach((figure, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.setAttribute("aria-label", `Enlarge ${words(figure)}`);
    button.addEventListener("click", () => open(at, NONE));
    figure.querySelector(".stack").append(button);
  });
  const compare = byId("compare");
  if (compare && figures.length) {
    compare.hidden = false;
    compare.addEventListener("click", () => open(0, figures.length > 1 ? 1 : PHOTO));
  }

  for (const select of [left, right]) select.addEventListener("change", draw);
  opacity.addEventListener("input", blend);
  divide.addEventListener("input", part);
  zoom.addEventListener("input", magnify);
  byId("viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("keydown", (event) => {
    if (event.target.closest("select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!step) return;
    zoom[step > 0 ? "stepUp" : "stepDown"]();
    magnify();
  });

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    const line = event.target.closest(".line");
    if (!line && event.pointerType !== "mouse") return; // a finger scrolls by itself
    drag = { line, x: event.clientX + stage.scrollLeft, y: event.clientY + stage.scrollTop };
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (drag.line) {
      const box = canvas.getBoundingClientRect();
      divide.value = (100 * (event.clientX - box.left)) / box.width;
      part();
    } else {
      stage.scrollLeft = drag.x - event.clientX;
      stage.scrollTop = drag.y - event.clientY;
    }
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { drag = null; });
})();
