// Puts the keys where a dialog wants them: into its first field. A dialog gives the focus to itself as it opens.

const PATIENCE = [0, 60, 200, 500]; // ms: the field may come after this, and the dialog takes the focus once more

export default function (component) {
  const { parentElement } = component;
  if (parentElement.asked) return;
  parentElement.asked = true;
  const inside = parentElement.getRootNode().host ?? parentElement;
  const timers = PATIENCE.map((delay) => setTimeout(() => {
    const dialog = inside.closest('[role="dialog"]');
    const field = dialog?.querySelector('input[type="text"], textarea');
    // What a person has gone to meanwhile keeps the keys.
    if (!field || dialog.querySelector("input:focus, textarea:focus")) return;
    field.focus();
    field.select();
  }, delay));
  return () => timers.forEach(clearTimeout);
}
