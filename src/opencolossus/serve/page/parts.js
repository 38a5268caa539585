// Small things that the page is made of.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

export function iconButton(name, label, action) {
  const button = element("button", { type: "button", className: "icon", title: label }, icon(name));
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => action(button));
  return button;
}

export function relabel(button, name, label) {
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", label);
}

// For those who do not see the page.
export function announce(text) {
  $("status").textContent = text;
}

export async function copy(text, button) {
  const label = button.getAttribute("aria-label");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    announce("Copying is not allowed here");
    return;
  }
  announce("Copied");
  relabel(button, "i-check", "Copied");
  setTimeout(() => relabel(button, "i-copy", label), 1500);
}

function asked(title, note, ok, text) {
  const dialog = $("asker");
  $("asker-title").textContent = title;
  $("asker-note").textContent = note;
  $("asker-ok").textContent = ok;
  $("asker-text").hidden = text === undefined;
  $("asker-text").value = text ?? "";
  dialog.returnValue = "cancel";
  dialog.showModal();
  if (text === undefined) $("asker-ok").focus(); else $("asker-text").select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true });
  });
}

export function confirmed(title, note, ok) {
  return asked(title, note, ok);
}

export async function typed(title, text) {
  return (await asked(title, "", "Save", text)) ? $("asker-text").value.trim() : null;
}
