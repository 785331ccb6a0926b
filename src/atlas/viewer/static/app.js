// Keys, live rows, and small comforts. Every page works without this file; nothing here builds HTML from data.
(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  const csrf = () => document.body.dataset.csrf || "";

  // --- toasts -------------------------------------------------------------------------------------------------------
  function toast(text, label, action) {
    const box = document.createElement("div");
    box.className = "toast";
    box.append(text);
    if (label) {
      const button = document.createElement("button");
      button.textContent = label;
      button.addEventListener("click", () => { box.remove(); action(); });
      box.append(button);
    }
    one("#toasts").append(box);
    setTimeout(() => box.remove(), label ? 15000 : 6000);
  }

  // --- live rows ----------------------------------------------------------------------------------------------------
  let stream = null;
  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }
  function listen(address, handlers, mark) {
    stream = new EventSource(address);
    stream.onopen = () => { if (mark) mark.hidden = false; };
    stream.onerror = () => { if (mark) mark.hidden = true; };
    for (const [name, handler] of Object.entries(handlers)) {
      stream.addEventListener(name, (message) => handler(JSON.parse(message.data)));
    }
  }
  function place(changed) {
    const list = one("#list .rows");
    if (!list) return;
    for (const { id, html } of changed.reverse()) {
      const row = one("li", parsed(html));
      const there = document.getElementById("s-" + id);
      if (there) {
        if (there.outerHTML === row.outerHTML) continue;
        if (there.classList.contains("on")) row.classList.add("on");
        there.replaceWith(row);
      } else {
        list.prepend(row);
        row.classList.add("fresh");
        const empty = one("#list [data-empty]");
        if (empty) empty.remove();
        if (list.children.length > 100) list.lastElementChild.remove();
      }
    }
  }
  function follow() {
    if (stream) { stream.close(); stream = null; }
    if (document.hidden) return;
    const list = one("[data-live]");
    const session = one("[data-live-session]");
    if (list) listen(list.dataset.live, { rows: place }, one("[data-live-mark]"));
    if (session) {
      listen(session.dataset.liveSession, {
        moments: (html) => {
          for (const item of all("li.moment", parsed(html))) if (!document.getElementById(item.id)) one("#flow").append(item);
        },
        ended: () => { stream.close(); location.reload(); },
      });
    }
  }
  document.addEventListener("visibilitychange", follow);
  document.addEventListener("htmx:afterSettle", follow);
  addEventListener("pagehide", () => stream && stream.close());

  // --- review queue -------------------------------------------------------------------------------------------------
  async function decide(queue, decision, seen, note) {
    const body = new URLSearchParams({ csrf: csrf(), decision, note });
    for (const one_seen of seen) body.append("seen", one_seen);
    let told;
    try {
      const reply = await fetch("/review/decide", { method: "POST", body, headers: { Accept: "application/json" } });
      told = await reply.json();
    } catch { toast("The viewer does not answer. Nothing was decided."); return; }
    if (!told.results) { toast(told.message || "That was refused."); return; }
    const undo = [];
    for (const result of told.results) {
      const card = document.getElementById("c-" + result.session);
      const line = one(".outcome", card);
      line.textContent = result.done ? decision : "Not recorded: " + result.problem;
      line.classList.toggle("failed", !result.done);
      if (!result.done) continue;
      undo.push(result.undo);
      const box = one("input[name=seen]", card);
      box.checked = false;
      box.value = result.undo;
      const open = decision === queue.dataset.review;
      box.disabled = !open;
      card.classList.toggle("done", !open);
    }
    if (undo.length && decision !== told.before) {
      toast(undo.length + " " + decision + ".", "Undo", () => decide(queue, told.before, undo, "taken back"));
    }
  }
  function chosen(queue) {
    const boxes = all("input[name=seen]:checked", queue);
    if (boxes.length) return boxes;
    const card = one(".on", queue);
    return card ? all("input[name=seen]:not(:disabled)", card) : [];
  }
  document.addEventListener("submit", (event) => {
    const queue = event.target.closest("[data-queue]");
    if (!queue || !event.submitter) return;
    event.preventDefault();
    const boxes = chosen(queue);
    if (!boxes.length) { toast("Select sessions first: x, or the boxes."); return; }
    decide(queue, event.submitter.value, boxes.map((box) => box.value), queue.elements.note.value);
    queue.elements.note.value = "";
    step(1);
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-select-all]")) return;
    for (const box of all("input[name=seen]:not(:disabled)")) box.checked = event.target.checked;
  });

  // --- keys ---------------------------------------------------------------------------------------------------------
  let going = false;
  const items = () => all("[data-key]");
  function step(by) {
    const list = items();
    if (!list.length) return;
    const now = list.findIndex((item) => item.classList.contains("on"));
    const next = Math.min(Math.max(now + by, 0), list.length - 1);
    if (now >= 0) list[now].classList.remove("on");
    list[next].classList.add("on");
    list[next].scrollIntoView({ block: "nearest" });
    const link = one("a, summary, button", list[next]);
    if (link) link.focus({ preventScroll: true });
  }
  const press = (selector, within = document) => { const found = one(selector, within); if (found) found.click(); return found; };
  const places = { s: "/sessions", r: "/review", p: "/playbooks", l: "/learning", t: "/training" };
  const keys = {
    j: () => step(1), k: () => step(-1),
    "/": () => { const field = one("[data-search]"); if (field) { field.focus(); field.select(); } },
    "?": () => one("#help").showModal(),
    n: () => press('[data-page="next"]'),
    p: () => press('[data-page="prev"], [data-page="first"]'),
    x: () => press(".on input[type=checkbox]"),
    a: () => press(one("[data-queue]") ? '[data-decide="approved"]' : 'button[value="approved"]'),
    q: () => press(one("[data-queue]") ? '[data-decide="quarantined"]' : 'button[value="quarantined"]'),
    u: () => press(".toast button"),
    g: () => { going = true; setTimeout(() => { going = false; }, 1200); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input, select, textarea");
    if (event.key === "Escape" && field) { field.blur(); return; }
    if ((field && field.type !== "checkbox") || one("dialog[open]")) return;
    if (going && places[event.key]) { location.href = places[event.key]; return; }
    if (event.key >= "1" && event.key <= "8") {
      const tab = all(".tabs a")[event.key - 1];
      if (tab) { tab.click(); event.preventDefault(); }
      return;
    }
    if (event.key === "Enter" && event.target === document.body) { press(".on a"); return; }
    if (keys[event.key]) { keys[event.key](); event.preventDefault(); }
  });

  // --- small comforts -----------------------------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-toggle]")) {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("atlas-theme", root.dataset.theme);
      document.dispatchEvent(new Event("atlas:theme"));
    }
    if (event.target.closest("[data-help]")) one("#help").showModal();
    const copied = event.target.closest(".copy");
    if (copied && navigator.clipboard) navigator.clipboard.writeText(copied.textContent).then(() => toast("Copied."));
  });
  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-Atlas-Csrf"] = csrf();
    const given = event.detail.parameters;  // empty fields have no place in an address
    if (event.target.matches("[data-clean]")) for (const name of Object.keys(given)) if (!given[name]) delete given[name];
  });
  document.addEventListener("htmx:responseError", () => toast("The server refused that; see the fields."));
  document.addEventListener("htmx:sendError", () => toast("The viewer does not answer. Is it still running?"));

  window.atlas = { toast, csrf };
  follow();
})();
