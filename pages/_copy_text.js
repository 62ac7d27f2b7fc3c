// Copies a text when its button is pressed. The clipboard is closed to pages that come over plain http from another
// machine: there the text is selected in a field that nobody sees, and copied the old way.

function copiedTheOldWay(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.style.position = "fixed";
  field.style.opacity = "0";
  field.setAttribute("aria-hidden", "true");
  document.body.append(field);
  field.select();
  try {
    return document.execCommand("copy");
  } finally {
    field.remove();
  }
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedTheOldWay(text);
  }
}

export default function (component) {
  const { parentElement, data } = component;
  const button = parentElement.querySelector("button");
  const said = parentElement.querySelector(".said");
  button.onclick = async () => {
    const done = await copied(data.text);
    button.focus();
    said.textContent = done ? "Copied." : "The browser did not let the text be copied.";
    button.querySelector(".label").textContent = done ? "Copied" : "Not copied";
    setTimeout(() => {
      button.querySelector(".label").textContent = data.label;
      said.textContent = "";
    }, 2000);
  };
  button.querySelector(".label").textContent = data.label;
}
