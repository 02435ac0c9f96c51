/* Keys: / leads to the search box, arrows to the images before and after, ? lists the keys. */
"use strict";
(() => {
  const KEYS = [
    ["/", "find an image"],
    ["←", "the image before"],
    ["→", "the image after"],
    ["Tab, Enter", "on an image’s page: choose a map and enlarge it"],
    ["+ −", "zoom, where a map is enlarged"],
    ["Esc", "close what is open"],
    ["?", "this list"],
  ];
  const make = (tag, text, name) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text) made.textContent = text;
    return made;
  };

  let help = null;
  const showHelp = () => {
    if (!help) {
      const title = make("h2", "Keys"), list = make("dl", "", "keys"), close = make("button", "Close");
      title.id = "keys-title";
      for (const [key, words] of KEYS) {
        const pair = make("div"), term = make("dt");
        for (const one of key.split(" ")) term.append(make("kbd", one.replace(",", "")), " ");
        pair.append(term, make("dd", words));
        list.append(pair);
      }
      close.type = "button";
      help = make("dialog", "", "help");
      help.id = "help";
      help.setAttribute("aria-labelledby", title.id);
      close.addEventListener("click", () => help.close());
      help.append(title, list, close);
      document.body.append(help);
    }
    help.showModal();
  };

  const follow = (selector, hash = "") => {
    const link = document.querySelector(selector);
    if (link) location.href = link.href.split("#")[0] + hash;
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]") || event.target.closest("select, textarea")) return;
    const input = event.target.closest("input");
    if (input && input.type !== "radio") return;
    if (event.key === "?") showHelp();
    else if (event.key === "/" && !document.getElementById("find")) {
      event.preventDefault();
      follow("header.site .home", "#find");
    } else if (!input && !event.target.closest("[tabindex]")) {
      if (event.key === "ArrowLeft") follow("a[rel=prev]");
      if (event.key === "ArrowRight") follow("a[rel=next]");
    }
  });

  const bar = document.querySelector("header.site nav");
  if (bar) {
    const button = make("button", "Keys", "keys-button");
    button.type = "button";
    button.addEventListener("click", showHelp);
    bar.append(button);
  }
  const find = document.getElementById("find");
  if (find && location.hash === "#find") find.focus();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
    for (const image of document.querySelectorAll("img[loading=lazy]")) image.loading = "eager";
  });
  addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
  });
})();
