// A histogram on which one drags a range; two native handles do the same by keyboard. The page owns the range: what it
// passes counts, except while a choice is on its way to it.

const KEY_PAUSE = 350; // ms: a held arrow key becomes one report

function start(root) {
  const find = (what) => root.querySelector(what);
  const state = {
    low: 0, high: 0, start: 0, bins: 0, number: 0, dragging: null, timer: null, send: null,
    load: crypto.getRandomValues(new Uint32Array(2)).join("-"),
  };
  const [low, high] = [find(".low"), find(".high")];
  const plot = find(".plot");
  const share = (edge) => Math.round((100 * edge) / state.bins);

  state.draw = () => {
    const whole = state.low <= state.start && state.high === state.bins;
    find(".words").textContent = whole ? "any" : `${share(state.low)} to ${share(state.high)} %`;
    find(".any").hidden = whole;
    find(".first").textContent = `${share(state.start)} %`;
    Array.from(find(".bars").children).forEach((bar, i) => {
      bar.classList.toggle("within", i + state.start >= state.low && i + state.start < state.high);
    });
    low.value = state.low;
    high.value = state.high;
    low.setAttribute("aria-valuetext", `${share(state.low)} %`);
    high.setAttribute("aria-valuetext", `${share(state.high)} %`);
    // Both at the right end: the lower handle has to be on top, or neither can be moved.
    low.style.zIndex = state.low > (state.start + state.bins) / 2 ? 1 : 0;
  };
  function choose(from, to) {
    state.low = Math.max(state.start, Math.min(from, to));
    state.high = Math.min(state.bins, Math.max(from, to));
    state.changed = true;
    state.draw();
  }
  function report() {
    clearTimeout(state.timer);
    if (!state.changed) return;
    state.changed = false;
    // The first bins hold nothing: from there on is from 0 on.
    const from = state.low <= state.start ? 0 : state.low;
    state.send("range", { load: state.load, number: ++state.number, low: from, high: state.high });
  }
  const reportSoon = () => {
    clearTimeout(state.timer);
    state.timer = setTimeout(report, KEY_PAUSE);
  };

  low.addEventListener("input", () => choose(Math.min(Number(low.value), state.high - 1), state.high));
  high.addEventListener("input", () => choose(state.low, Math.max(Number(high.value), state.low + 1)));
  for (const handle of [low, high]) handle.addEventListener("change", reportSoon);

  const binAt = (event) => {
    const box = find(".bars").getBoundingClientRect();
    const at = Math.floor(((event.clientX - box.left) / box.width) * (state.bins - state.start));
    return state.start + Math.max(0, Math.min(at, state.bins - state.start - 1));
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.tagName === "INPUT") return;
    plot.setPointerCapture(event.pointerId);
    state.dragging = binAt(event);
    choose(state.dragging, state.dragging + 1);
  });
  plot.addEventListener("pointermove", (event) => {
    if (state.dragging === null) return;
    const here = binAt(event);
    choose(Math.min(state.dragging, here), Math.max(state.dragging, here) + 1);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    plot.addEventListener(end, () => {
      if (state.dragging === null) return;
      state.dragging = null;
      report();
    });
  }
  find(".any").onclick = () => {
    choose(state.start, state.bins);
    report();
    low.focus();
  };
  return state;
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".range");
  root.state ??= start(root);
  const state = root.state;
  state.send = setStateValue;
  for (const [role, colour] of Object.entries(data.paper)) root.style.setProperty(`--${role}`, colour);
  root.querySelector(".label").textContent = data.label;
  state.start = data.start;
  state.bins = data.counts.length;

  const bars = root.querySelector(".bars");
  const shown = data.counts.slice(data.start);
  const most = Math.max(1, ...shown);
  while (bars.children.length < shown.length) bars.append(document.createElement("div"));
  while (bars.children.length > shown.length) bars.lastElementChild.remove();
  shown.forEach((count, i) => {
    bars.children[i].className = "bar";
    bars.children[i].style.height = count ? `max(2px, ${(100 * count) / most}%)` : "0";
  });
  for (const [name, words] of [["low", "from"], ["high", "to"]]) {
    const handle = root.querySelector(`.${name}`);
    handle.min = data.start;
    handle.max = state.bins;
    handle.setAttribute("aria-label", `${data.label} ${words}`);
  }
  const heard = state.number === 0 || (data.seen?.load === state.load && data.seen.number >= state.number);
  if (heard && !state.changed) {
    state.low = Math.max(data.low, data.start);
    state.high = data.high;
  }
  state.draw();
  return () => clearTimeout(state.timer);
}
