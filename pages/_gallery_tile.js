// One tile: built once for a sample, then only brought up to date.

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(className, text) {
  const node = element("button", className, text);
  node.type = "button";
  return node;
}

function buildTile(tile) {
  const node = element("div", "tile");
  node.dataset.id = tile.id;
  node.setAttribute("role", "gridcell");
  const picture = element("div", "picture");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.draggable = false;
  image.onerror = () => picture.classList.add("missing");
  image.onload = () => picture.classList.remove("missing");
  const mark = element("span", "mark", "\u2713");
  mark.setAttribute("aria-hidden", "true");
  const open = button("open", "open");
  const stack = button("stacked");
  // Reached by keys of their own, not by Tab: a page has a hundred of them.
  open.tabIndex = stack.tabIndex = -1;
  picture.append(image, mark, open, element("span", "note"), stack);
  const first = element("div", "first");
  first.append(element("span", "label"), element("span", "badge", "differs"));
  const bar = element("div", "bar");
  bar.append(element("div", "filled"));
  const words = element("div", "words");
  words.append(first, element("div", "says"), bar);
  node.append(picture, words);
  return node;
}

// The tile as the person has left it: with the label just given, also where the server does not know of it yet.
function withGiven(tile, state) {
  const given = state.log.given.get(tile.id);
  if (!given) return tile;
  const label = state.labels.find((one) => one.id === given.label);
  return {
    ...tile,
    label: label?.name ?? null,
    label_colour: label?.colour ?? "inherit",
    differs: Boolean(label && tile.prediction !== null && tile.prediction !== label.name),
  };
}

function inWords(tile) {
  const parts = [tile.title, tile.label === null ? "no label" : `labelled ${tile.label}`, tile.says];
  if (tile.differs) parts.push("differs from the label");
  if (tile.stack > 1) parts.push(`stands for ${tile.stack} alike`);
  if (tile.note) parts.push(tile.note);
  return parts.filter(Boolean).join(", ");
}

function fillTile(node, tile) {
  const image = node.querySelector("img");
  if (image.getAttribute("src") !== tile.thumbnail_url) image.src = tile.thumbnail_url;
  node.title = tile.title;
  node.setAttribute("aria-label", inWords(tile));
  fillLabel(node.querySelector(".label"), tile);
  node.querySelector(".badge").hidden = !tile.differs;
  node.querySelector(".says").textContent = tile.says;
  const bar = node.querySelector(".bar");
  bar.style.visibility = tile.confidence === null ? "hidden" : "visible";
  const filled = node.querySelector(".filled");
  filled.style.width = `${100 * (tile.confidence ?? 0)}%`;
  filled.style.background = tile.prediction_colour;
  node.querySelector(".open").setAttribute("aria-label", `open ${tile.title}`);
  node.classList.toggle("many", tile.stack > 1);
  const stack = node.querySelector(".stacked");
  stack.hidden = tile.stack < 2;
  stack.textContent = `${tile.stack} alike`;
  const note = node.querySelector(".note");
  note.hidden = !tile.note;
  note.textContent = tile.note;
}

function fillLabel(node, tile) {
  node.textContent = tile.label ?? "no label";
  node.style.color = tile.label === null ? "" : tile.label_colour;
  node.classList.toggle("none", tile.label === null);
}
