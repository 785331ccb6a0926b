// Before the first paint: the reader's choice of dark or light, where they made one.
(() => {
  const chosen = localStorage.getItem("atlas-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
