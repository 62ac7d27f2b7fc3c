// Asks for the page once more where the browser has taken it away and nobody draws it: nothing is shown, nothing runs.

const EVERY = 400; // ms
const LOOKS = 2; // in a row, before it asks
const ASKED_AT_MOST = 3; // until a page is seen again

export default function (component) {
  const { parentElement, setTriggerValue } = component;
  const watch = (parentElement.watch ??= { blank: 0, asked: 0 });
  const timer = setInterval(() => {
    const main = document.querySelector('[data-testid="stMain"]');
    if (!main) return;
    if (main.querySelector("h1")) {
      watch.blank = watch.asked = 0;
      return;
    }
    const state = document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState;
    watch.blank = state === "notRunning" ? watch.blank + 1 : 0;
    if (watch.blank < LOOKS || watch.asked >= ASKED_AT_MOST) return;
    watch.blank = 0;
    watch.asked += 1;
    setTriggerValue("blank", true);
  }, EVERY);
  return () => clearInterval(timer);
}
