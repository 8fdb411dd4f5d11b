// Requests to the API. The token is kept for this tab only.

const KEY = "jointreid-token";

export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function remember(token) {
  sessionStorage.setItem(KEY, token);
}

export async function call(path, asked) {
  const headers = {};
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { headers };
  if (asked !== undefined) {
    options.method = "POST";
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(asked);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refusal(0, "The server does not answer. Is it still running?");
  }
  let plain = null;
  try {
    plain = await answer.json();
  } catch {
    // An answer that is no JSON has no reason in it.
  }
  if (!answer.ok) throw new Refusal(answer.status, plain?.detail ?? `The server refused (${answer.status}).`);
  return plain;
}

export function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(file);
  });
}
