// A picture from the clipboard goes the way of a chosen one: into the file field of the page, which does the rest.

function fieldIn(key) {
  return document.querySelector(`.st-key-${CSS.escape(key)} input[type="file"]`);
}

function named(file, number) {
  // What comes from a screenshot is called image.png by every browser.
  const ending = (file.type.split("/")[1] || "png").replace("jpeg", "jpg").replace(/\+.*/, "");
  return file.name && file.name !== "image.png" ? file : new File([file], `pasted-${number}.${ending}`, { type: file.type });
}

export default function (component) {
  const { data } = component;
  let pasted = 0;
  const paste = (event) => {
    const at = event.target;
    const writing = at instanceof Element && at.closest("input:not([type='file']), textarea, [contenteditable='true']");
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    const field = fieldIn(data.key);
    if (writing || !files.length || !field || field.disabled) return;
    event.preventDefault();
    const all = new DataTransfer();
    for (const file of files) all.items.add(named(file, (pasted += 1)));
    field.files = all.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
