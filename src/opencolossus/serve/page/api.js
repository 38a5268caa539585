// Talking to the server.

let token = "";

export function tokenOf(text) {
  token = text || "";
}

export class Failure extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

function headers(withBody) {
  return { ...(withBody ? { "Content-Type": "application/json" } : {}), "X-CSRF-Token": token };
}

async function failureOf(response) {
  try {
    const { error } = await response.json();
    return new Failure(error.message, error.code);
  } catch {
    return new Failure(`The server answered with status ${response.status}.`);
  }
}

// `line` is a method and a path.
export async function api(line, body) {
  const [method, path] = line.split(" ");
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: headers(body !== undefined),
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Failure("The server cannot be reached.");
  }
  if (!response.ok) throw await failureOf(response);
  return response.json();
}

// The server-sent events that answer a POST.
export async function* ask(path, body, signal) {
  const response = await fetch(path, { method: "POST", headers: headers(true), body: JSON.stringify(body), signal });
  if (!response.ok) throw await failureOf(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) yield JSON.parse(event.replace(/^data: /, ""));
  }
}
