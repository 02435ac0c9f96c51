/* Point at a patch: where its information came from, and where it goes. The numbers come when they are asked for. */
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const section = byId("inspector");
  if (!section) return;
  const HEAD = "head", PATCH = "patch";

  const ramp = getComputedStyle(document.documentElement).getPropertyValue("--ramp-sequential").split(",")
    .map((hex) => [1, 3, 5].map((at) => parseInt(hex.trim().slice(at, at + 2), 16)));
  const colour = (share) => {
    const place = Math.min(1, Math.max(0, share)) * (ramp.length - 1);
    const low = Math.min(Math.floor(place), ramp.length - 2);
    return ramp[low].map((part, at) => Math.round(part + (place - low) * (ramp[low + 1][at] - part)));
  };
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 2 : 1)}\u00a0%`;
  const times = (ratio) => `${ratio.toFixed(2)}\u00a0×`;

  const start = (stored) => {
    const { prefix, rows, cols, readout, own, scales, values } = stored;
    const first = prefix.length, patches = rows * cols, tokens = first + patches;
    const bytes = atob(values);
    const share = (to, from) => (to === from ? own[to] : (bytes.charCodeAt(to * tokens + from) * scales[from]) / 255);
    const usual = Array.from({ length: tokens }, (_, from) => {
      let sum = 0, count = 0;
      for (let to = first; to < tokens; to += 1) {
        if (to !== from) { sum += share(to, from); count += 1; }
      }
      return count ? sum / count : 0;
    });
    const headShare = (from) => readout.reduce((sum, part, to) => sum + (part ? part * share(to, from) : 0), 0);
    let chosen = first + Math.floor(rows / 2) * cols + Math.floor(cols / 2), source = PATCH, held = false;

    const token = () => (source === PATCH ? chosen : source === HEAD ? -1 : Number(source));
    const place = (at) => `row ${Math.floor((at - first) / cols)}, column ${(at - first) % cols}`;
    const name = (at) => (at < first ? `the ${prefix[at]}` : place(at));

    const picture = (figure, shares, usually, self) => {
      const against = byId("patch-ratios").checked;
      const shown = against ? shares.map((one, at) => one / (usually[at] || 1)) : shares;
      const others = shown.filter((_, at) => first + at !== self);
      const low = against ? Math.min(...others) : 0, high = Math.max(...others);
      const pixels = figure.context.createImageData(cols, rows);
      shown.forEach((one, at) => {
        const seen = first + at === self ? 0 : 255;
        pixels.data.set([...colour(high > low ? (one - low) / (high - low) : 0), seen], 4 * at);
      });
      figure.context.putImageData(pixels, 0, 0);
      const ends = figure.ramp.querySelectorAll("span"), said = against ? times : percent;
      ends[0].textContent = said(low);
      ends[1].textContent = said(high);
    };

    const figures = ["from", "to"].map((id) => {
      const element = byId(`patches-${id}`), canvas = element.querySelector("canvas");
      canvas.width = cols;
      canvas.height = rows;
      return { element, ramp: element.querySelector(".ramp"), mark: element.querySelector(".mark"), stack: element.querySelector(".stack"), context: canvas.getContext("2d") };
    });
    const [from, to] = figures;

    const most = (shares, self) => {
      let best = -1;
      shares.forEach((one, at) => {
        if (first + at !== self && (best < 0 || one > shares[best])) best = at;
      });
      return best;
    };

    const draw = () => {
      const self = token(), whole = Array.from({ length: tokens }, (_, at) => (self < 0 ? headShare(at) : share(self, at)));
      const came = whole.slice(first);
      picture(from, came, usual.slice(first), self);
      const goes = Array.from({ length: patches }, (_, at) => (self < 0 ? 0 : share(first + at, self)));
      to.element.hidden = self < 0;
      if (self >= 0) picture(to, goes, goes.map(() => usual[self]), self);
      for (const { mark } of figures) {
        mark.hidden = self < first;
        mark.style.left = `${(100 * ((self - first) % cols)) / cols}%`;
        mark.style.top = `${(100 * Math.floor((self - first) / cols)) / rows}%`;
        mark.style.width = `${100 / cols}%`;
        mark.style.height = `${100 / rows}%`;
      }
      const source_ = most(came, self), target = most(goes, self);
      const subject = self < 0 ? "What the head reads" : self < first ? `The ${prefix[self]}` : `Row ${place(self).slice(4)}`;
      const parts = prefix.map((one, at) => (at === self ? "" : `${percent(whole[at])} from the ${one}`)).filter(Boolean);
      const rest = came.reduce((sum, one, at) => sum + (first + at === self ? 0 : one), 0);
      parts.push(`${percent(rest)} from ${self < first ? "patches" : "other patches"}`);
      if (self >= 0) parts.unshift(`${percent(whole[self])} from itself`);
      const ratio = (one, base) => (base ? `, ${times(one / base)} the mean patch` : "");
      const lines = [`${subject}: ${parts.join(", ")}; of the patches most from ${name(first + source_)} (${percent(came[source_])}${ratio(came[source_], usual[first + source_])}).`];
      if (self >= 0) lines.push(`Of the patches it goes most to ${name(first + target)}, which has ${percent(goes[target])} from it${ratio(goes[target], usual[self])}; the head reads ${percent(headShare(self))} from it.`);
      byId("patches-said").textContent = lines.join(" ");
    };

    const choose = (row, col) => {
      chosen = first + Math.min(rows - 1, Math.max(0, row)) * cols + Math.min(cols - 1, Math.max(0, col));
      source = PATCH;
      byId("token-patch").checked = true;
      draw();
    };
    const under = (event, stack) => {
      const box = stack.getBoundingClientRect();
      return [Math.floor(((event.clientY - box.top) / box.height) * rows), Math.floor(((event.clientX - box.left) / box.width) * cols)];
    };
    for (const { stack } of figures) {
      stack.addEventListener("pointermove", (event) => {
        if (event.pointerType === "mouse" && !held) choose(...under(event, stack));
      });
      stack.addEventListener("click", (event) => {
        const before = chosen;
        choose(...under(event, stack));
        held = !(held && before === chosen);
        section.classList.toggle("held", held);
      });
      stack.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
        if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        choose(Math.floor((chosen - first) / cols) + step[0], ((chosen - first) % cols) + step[1]);
      });
    }
    for (const input of section.querySelectorAll("input[name=token]")) {
      input.addEventListener("change", () => { source = input.value; draw(); });
    }
    for (const input of section.querySelectorAll("input[name=against]")) input.addEventListener("change", draw);
    byId("inspector-room").hidden = false;
    draw();
    section.dataset.ready = "";
  };

  const button = byId("inspect");
  byId("inspector-plain").hidden = true;
  button.hidden = false;
  button.addEventListener("click", () => {
    button.disabled = true;
    const script = document.createElement("script");
    script.src = section.dataset.patches;
    script.addEventListener("load", () => {
      button.hidden = true;
      start(window.vitreport_patches);
      byId("patches-from").querySelector(".stack").focus();
    });
    script.addEventListener("error", () => {
      button.disabled = false;
      byId("inspector-plain").textContent = "The numbers of this image’s patches cannot be loaded; the file is missing.";
      byId("inspector-plain").hidden = false;
    });
    document.head.append(script);
  });
})();
