// What a page cannot do without a script: keep light or dark against the system's choice, and show
// the current entry of a navigation that is wider than the screen.
(function () {
  var root = document.documentElement;
  function stored() { try { return localStorage.getItem("theme"); } catch (_) { return null; } }
  if (stored()) root.dataset.theme = stored();
  document.addEventListener("DOMContentLoaded", function () {
    var button = document.querySelector("[data-theme-switch]");
    if (button) button.hidden = false;
    var current = document.querySelector(".top nav [aria-current]");
    if (current) current.scrollIntoView({ block: "nearest", inline: "center" });
    if (!button) return;
    button.addEventListener("click", function () {
      var system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      var next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
      root.dataset.theme = next;
      try { localStorage.setItem("theme", next); } catch (_) { /* then only for this page */ }
    });
  });
})();
