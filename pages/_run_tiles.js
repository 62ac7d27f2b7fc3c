// Tiles of a run. Streamlit calls the default export on every rerun with new data and the same parent element: tiles are
// brought up to date, not built anew, so that pictures do not flicker and the focus stays.

function element(name, kind, words) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (words !== undefined) made.textContent = words;
  return made;
}

function newTile() {
  const tile = element("li", "tile");
  const open = element("button", "open");
  open.type = "button";
  const picture = element("span", "picture");
  const words = element("span", "words");
  words.append(element("b", "verdict"), element("span", "grade"), element("span", "score"));
  open.append(picture, words, element("span", "name"), element("span", "problem"), element("span", "flags"));
  const tick = element("label", "tick");
  const box = element("input");
  box.type = "checkbox";
  tick.append(box);
  tile.append(open, tick);
  return tile;
}

function fill(tile, one, ticked) {
  tile.dataset.position = one.position;
  const part = (kind) => tile.querySelector(`.${kind}`);
  const picture = part("picture");
  const shown = picture.querySelector("img");
  if (!one.url) picture.replaceChildren(element("span", "none", "no picture"));
  else if (shown?.getAttribute("src") !== one.url) {
    const image = element("img");
    image.alt = "";
    image.decoding = "async";
    image.onerror = () => picture.replaceChildren(element("span", "none", "no preview"));
    image.src = one.url;
    picture.replaceChildren(image);
  }
  part("verdict").textContent = one.verdict;
  part("verdict").style.color = one.colour;
  part("grade").textContent = one.grade;
  part("score").textContent = one.score;
  part("name").textContent = one.name;
  part("name").title = one.name;
  part("problem").textContent = one.problem;
  part("problem").hidden = !one.problem;
  part("flags").replaceChildren(...one.flags.map((flag) => element("i", "", flag)));
  const open = part("open");
  open.disabled = Boolean(one.problem);
  open.setAttribute("aria-label", [one.name, one.verdict, one.grade, one.score, ...one.flags, one.problem].filter(Boolean).join(", "));
  const box = tile.querySelector("input");
  box.checked = ticked;
  box.disabled = Boolean(one.problem);
  box.setAttribute("aria-label", `Choose ${one.name}`);
  tile.classList.toggle("chosen", ticked);
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const list = parentElement.querySelector("ul");
  for (const [name, value] of Object.entries(data.paper)) list.style.setProperty(`--${name}`, value);
  // What the person ticked stays as it is, until the page shows other tiles or chooses itself: then the stamp is another.
  if (list.dataset.stamp !== data.stamp) {
    list.dataset.stamp = data.stamp;
    list.ticked = new Set(data.ticked);
  }
  while (list.children.length < data.tiles.length) list.append(newTile());
  while (list.children.length > data.tiles.length) list.lastElementChild.remove();
  data.tiles.forEach((one, place) => fill(list.children[place], one, list.ticked.has(one.position)));
  list.onclick = (event) => {
    const open = event.target.closest(".open");
    if (open && !open.disabled) setTriggerValue("open", Number(open.closest(".tile").dataset.position));
  };
  list.onchange = (event) => {
    const tile = event.target.closest(".tile");
    const position = Number(tile.dataset.position);
    if (event.target.checked) list.ticked.add(position);
    else list.ticked.delete(position);
    tile.classList.toggle("chosen", event.target.checked);
    setStateValue("ticked", { stamp: data.stamp, positions: [...list.ticked] });
  };
}
