// The grid of tiles. Streamlit calls the default export on every rerun with new data and the same parent element, so it
// brings what is there up to date instead of building anew: pictures neither reload nor flicker, focus stays.

const REPORT_DELAY = 150; // ms: a burst of clicks becomes one rerun

function element(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function buildTile(tile) {
  const node = element("div", "tile");
  node.dataset.id = tile.id;
  node.setAttribute("role", "option");
  const picture = element("div", "picture");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.draggable = false;
  image.onerror = () => picture.classList.add("missing");
  image.onload = () => picture.classList.remove("missing");
  picture.append(image, element("span", "mark", "\u2713"));
  const first = element("div", "first");
  first.append(element("span", "label"), element("span", "badge", "differs"));
  const bar = element("div", "bar");
  bar.append(element("div", "filled"));
  const words = element("div", "words");
  words.append(first, element("div", "says"), bar);
  node.append(picture, words);
  return node;
}

function fillTile(node, tile) {
  const image = node.querySelector("img");
  if (image.getAttribute("src") !== tile.thumbnail_url) image.src = tile.thumbnail_url;
  node.title = tile.title;
  node.setAttribute("aria-label", tile.spoken);
  const label = node.querySelector(".label");
  label.textContent = tile.label ?? "no label";
  label.style.color = tile.label_colour;
  label.classList.toggle("none", tile.label === null);
  node.querySelector(".badge").hidden = !tile.differs;
  node.querySelector(".says").textContent = tile.says;
  const bar = node.querySelector(".bar");
  bar.style.visibility = tile.confidence === null ? "hidden" : "visible";
  const filled = node.querySelector(".filled");
  filled.style.width = `${100 * (tile.confidence ?? 0)}%`;
  filled.style.background = tile.prediction_colour;
}

function start(root) {
  const grid = root.querySelector(".grid");
  const state = {
    root, grid, revision: null, selected: new Set(), anchor: null, focus: null, order: [],
    timer: null, unreported: false, send: null,
  };

  const tileOf = (event) => event.target.closest(".tile");
  const nodeAt = (index) => grid.children[Math.max(0, Math.min(index, grid.children.length - 1))];

  function range(to) {
    const from = state.order.indexOf(state.anchor ?? to);
    const until = state.order.indexOf(to);
    for (const id of state.order.slice(Math.min(from, until), Math.max(from, until) + 1)) state.selected.add(id);
    changed();
  }
  function toggle(id) {
    if (!state.selected.delete(id)) state.selected.add(id);
    state.anchor = id;
    changed();
  }
  function focusOn(node) {
    if (!node) return;
    state.focus = node.dataset.id;
    showSelection(state);
    node.focus();
  }
  function changed() {
    showSelection(state);
    state.unreported = true;
    reportSoon(state);
  }

  grid.addEventListener("click", (event) => {
    const node = tileOf(event);
    if (!node) return;
    state.focus = node.dataset.id;
    if (event.shiftKey) range(node.dataset.id);
    else toggle(node.dataset.id);
  });
  grid.addEventListener("keydown", (event) => {
    const node = tileOf(event);
    if (!node) return;
    const here = Array.prototype.indexOf.call(grid.children, node);
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    if (event.key in steps && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const target = here + steps[event.key];
      if (target >= 0 && target < grid.children.length) {
        focusOn(nodeAt(target));
        if (event.shiftKey) {
          state.anchor ??= node.dataset.id;
          range(grid.children[target].dataset.id);
        }
      }
    } else if (event.key === "Home" || event.key === "End") {
      focusOn(nodeAt(event.key === "Home" ? 0 : Infinity));
    } else if (event.key === " ") {
      if (event.shiftKey) range(node.dataset.id);
      else toggle(node.dataset.id);
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      selectPage();
    } else if (event.key === "Escape" && state.selected.size) {
      clear();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  function selectPage() {
    state.selected = new Set(state.order);
    changed();
  }
  function clear() {
    state.selected.clear();
    state.anchor = null;
    changed();
  }
  root.querySelector(".select-page").onclick = selectPage;
  root.querySelector(".clear").onclick = clear;
  return state;
}

function reportSoon(state) {
  clearTimeout(state.timer);
  state.timer = setTimeout(() => report(state), REPORT_DELAY);
}

function report(state) {
  state.unreported = false;
  state.send("selection", { ids: state.order.filter((id) => state.selected.has(id)), revision: state.revision });
}

function showSelection(state) {
  if (!state.order.includes(state.focus)) state.focus = state.order[0] ?? null;
  for (const node of state.grid.children) {
    const chosen = state.selected.has(node.dataset.id);
    node.setAttribute("aria-selected", String(chosen));
    node.tabIndex = node.dataset.id === state.focus ? 0 : -1;
  }
  state.root.querySelector(".clear").disabled = state.selected.size === 0;
  state.root.querySelector(".select-page").disabled = state.selected.size === state.order.length;
  state.root.querySelector(".spoken").textContent = `${state.selected.size} selected`;
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".gallery");
  root.state ??= start(root);
  const state = root.state;
  state.send = setStateValue;
  state.grid.dataset.size = data.size;
  for (const [role, colour] of Object.entries(data.paper)) root.style.setProperty(`--${role}`, colour);

  const known = new Map(Array.from(state.grid.children, (node) => [node.dataset.id, node]));
  const nodes = data.tiles.map((tile) => {
    const node = known.get(tile.id) ?? buildTile(tile);
    fillTile(node, tile);
    return node;
  });
  const unchanged = nodes.length === state.grid.children.length && nodes.every((node, i) => node === state.grid.children[i]);
  if (!unchanged) {
    // Moving a node takes the focus from it; give it back where the tile is still on the page.
    const focused = state.grid.getRootNode().activeElement;
    state.grid.replaceChildren(...nodes);
    if (focused && focused !== state.grid.getRootNode().activeElement && nodes.includes(focused)) focused.focus();
  }
  state.order = data.tiles.map((tile) => tile.id);

  // The browser owns the selection between two commands of the page: an answer to an earlier click must not undo a
  // later one. A new revision is such a command.
  if (data.revision !== state.revision) {
    state.unreported = false;
    state.revision = data.revision;
    state.selected = new Set(data.selected);
  }
  const shown = new Set(state.order);
  for (const id of state.selected) if (!shown.has(id)) state.selected.delete(id);
  if (!shown.has(state.anchor)) state.anchor = null;
  showSelection(state);

  // Streamlit may call the clean-up between two reruns, with a report still waiting.
  clearTimeout(state.timer);
  if (state.unreported) reportSoon(state);
  return () => clearTimeout(state.timer);
}
