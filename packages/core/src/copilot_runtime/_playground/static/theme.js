// Runs before the page is drawn, so that it is never seen in the other theme.
const THEMES = ["system", "light", "dark"];

function storedTheme() {
  try {
    const theme = localStorage.getItem("playground-theme");
    return THEMES.includes(theme) ? theme : "system";
  } catch {
    return "system"; // a browser may forbid its storage
  }
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

showTheme(storedTheme());
