// Typesets the formulas of a page, which pymdownx.arithmatex has left as LaTeX. KaTeX is loaded from this site, and only
// by pages that have formulas.
const here = new URL(".", document.currentScript.src);

document.addEventListener("DOMContentLoaded", () => {
  const formulas = document.querySelectorAll(".arithmatex");
  if (!formulas.length) return;
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = new URL("katex/katex.min.css", here);
  const script = document.createElement("script");
  script.src = new URL("katex/katex.min.js", here);
  script.onload = () => {
    for (const formula of formulas) {
      // \( ... \) within a line, \[ ... \] on a line of its own.
      const text = formula.textContent.trim();
      katex.render(text.slice(2, -2), formula, { displayMode: text.startsWith("\\["), throwOnError: false });
    }
  };
  document.head.append(sheet, script);
});
