// What every page shares. Whatever comes from records is only ever set as text.
"use strict";
const lstmbench = (() => {
  const root = document.documentElement.dataset.root;
  const delivered = new Map();
  const scripts = new Map();

  /** Called by data files. */
  function deliver(key, value) {
    delivered.set(key, value);
  }

  /** What a data file on this page delivered. */
  function data(key) {
    return delivered.get(key);
  }

  /** Load one script of this site, once; pages from disk may not fetch. */
  function script(path) {
    if (!scripts.has(path)) {
      scripts.set(path, new Promise((resolve, reject) => {
        const tag = document.createElement("script");
        tag.src = root + path;
        tag.onload = () => resolve();
        tag.onerror = () => reject(new Error(`${path} is missing`));
        document.head.append(tag);
      }));
    }
    return scripts.get(path);
  }

  /** Facts and series of one trial. Its name may come from the address: only plain names load. */
  async function trial(slug) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$/.test(slug)) throw new Error("no such trial");
    const key = `trials/${slug}`;
    if (!delivered.has(key)) await script(`${key}.js`);
    return delivered.get(key);
  }

  /** An element with attributes; other arguments become its content, strings as text. */
  function el(name, attributes, ...content) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) {
        made.setAttribute(key, value);
      }
    }
    made.append(...content);
    return made;
  }

  /** Class of a status: fine, fine with a flag, or none of it. */
  function statusClass(status) {
    if (status === "ok") return "status";
    return status.startsWith("ok,") ? "status flagged" : "status bad";
  }

  function dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function themeButton() {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(dark()));
    const changed = () => {
      show();
      document.dispatchEvent(new Event("lstmbench-theme"));
    };
    button.addEventListener("click", () => {
      const theme = dark() ? "light" : "dark";
      document.documentElement.dataset.theme = theme;
      try {
        localStorage.setItem("lstmbench-theme", theme);
      } catch {
        // then it holds for this page
      }
      changed();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
    show();
  }

  function copyButtons() {
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        try {
          await navigator.clipboard.writeText(source.textContent);
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(source);
          button.textContent = "Selected";
        }
      });
    }
  }

  /** Keep `values` (name to text, empty for none) in the address, so that it can be shared. */
  function remember(values) {
    const wanted = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
    const text = wanted.toString();
    history.replaceState(null, "", text ? `#${text}` : "#");
  }

  function remembered() {
    return new URLSearchParams(location.hash.slice(1));
  }

  themeButton();
  copyButtons();
  return { data, deliver, el, remember, remembered, script, statusClass, trial };
})();
