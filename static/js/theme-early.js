// Loaded in <head> before anything is painted: "auto" becomes light or dark without a flash.
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const wanted = root.dataset.theme;
    root.dataset.bsTheme = wanted === "light" || wanted === "dark" ? wanted : dark.matches ? "dark" : "light";
    root.dispatchEvent(new CustomEvent("coi:theme"));
  };
  dark.addEventListener("change", apply);
  root.addEventListener("coi:theme-chosen", apply);
  if (localStorage.getItem("coi.rail") === "narrow") root.dataset.rail = "narrow";
  apply();
})();
