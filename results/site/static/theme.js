// Before anything is painted: the theme chosen before, otherwise the system's.
"use strict";
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("lstmbench-theme");
  } catch {
    // pages from disk may not be allowed to remember
  }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
