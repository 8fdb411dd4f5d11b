// The page: what is clicked, dropped, pasted and typed, and what is asked of the server then.

import { base64, call, remember } from "/client.js";
import { element, facts, people, who } from "/people.js";
import { Scene } from "/scene.js";

const at = (id) => document.getElementById(id);
// `edits` counts changes of the boxes: answers to a search belong to the boxes of its beginning.
const state = { image: null, info: null, answers: null, edits: 0, busy: false };

const scene = new Scene({
  scene: at("scene"),
  picture: at("picture"),
  layer: at("boxes"),
  fields: ["x", "y", "w", "h"].map((name) => at(`box-${name}`)),
  onChange(edited) {
    if (edited) {
      state.edits += 1;
      state.answers = null; // they are of other boxes
    }
    showButtons();
    showAnswers();
    if (!edited && state.answers) say(`Box ${scene.selected + 1}. ${nearest()}`);
  },
});

function say(text) {
  at("alert").textContent = "";
  at("status").textContent = text;
}

function complain(error) {
  at("status").textContent = "";
  if (error.status === 401) return askForToken();
  at("alert").textContent = error.message;
  return undefined;
}

function askForToken() {
  at("main").hidden = true;
  at("entry").hidden = false;
  at("alert").textContent = at("token").value ? "The token is wrong." : "";
  at("token").value = "";
  at("token").focus();
}

async function during(text, work) {
  if (state.busy) return;
  const focused = document.activeElement;
  state.busy = true;
  showButtons();
  say(text);
  try {
    await work();
  } catch (error) {
    complain(error);
  } finally {
    state.busy = false;
    showButtons();
    if (document.activeElement === document.body) focused?.focus(); // disabling it took the focus away
  }
}

function showButtons() {
  const idle = Boolean(state.image) && !state.busy;
  const count = scene.boxes.length;
  at("go").disabled = !idle;
  at("go").textContent = count > 1 ? `Search ${count} boxes` : count ? "Search the box" : "Search";
  at("add-go").disabled = !idle;
  at("file").disabled = state.busy; // it would show the name of an image that is not taken
  at("remove-box").disabled = !scene.box;
  at("clear-boxes").disabled = !count;
  at("add-box").disabled = count >= scene.limit;
  at("numbers").hidden = !scene.box;
}

function choices(select, values) {
  const before = select.value;
  select.replaceChildren(element("option", { value: "" }, "all"), ...values.map((value) => element("option", { value }, value)));
  if (values.includes(before)) select.value = before;
}

const distinct = (values) => [...new Set(values.filter((value) => value !== null))];

function showCameras() {
  const domain = at("domain").value;
  const own = state.info.cameras.filter((one) => !domain || one.domain === domain);
  choices(at("camera"), distinct(own.map((one) => one.camera)));
}

async function refresh() {
  state.info = await call("/api/info");
  const { images, people: known, model, cameras } = state.info;
  const expired = state.info.expired ? `, ${state.info.expired} past their retention date` : "";
  at("gallery").textContent = `${images.toLocaleString("en")} images of ${known.toLocaleString("en")} people${expired}; model ${model}`;
  choices(at("domain"), distinct(cameras.map((one) => one.domain)));
  showCameras();
  scene.limit = state.info.limits.boxes;
  at("addition").hidden = state.info.read_only;
  at("entry").hidden = true;
  at("main").hidden = false;
}

async function take(file) {
  if (!file || !state.info) return;
  if (state.busy) {
    complain(new Error("The page is still at work: give it the image again afterwards."));
    return;
  }
  if (file.size > state.info.limits.bytes) {
    complain(new Error(`The image has more than ${state.info.limits.bytes.toLocaleString("en")} bytes; choose a smaller one.`));
    return;
  }
  await during("Reading the image…", async () => {
    state.image = await base64(file);
    const picture = at("picture");
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    at("view").hidden = false;
    try {
      await picture.decode();
    } catch {
      at("view").hidden = true; // the server may know the format all the same
    }
    scene.clear();
    say(at("view").hidden
      ? "This browser cannot show the image; it can be searched as a whole."
      : `An image of ${picture.naturalWidth} × ${picture.naturalHeight} pixels. Draw boxes, or search all of it.`);
  });
}

function search() {
  const asked = { image: state.image, boxes: scene.boxes, top: Number(at("top").value) };
  for (const name of ["domain", "camera"]) if (at(name).value) asked[name] = [at(name).value];
  for (const name of ["since", "until"]) if (at(name).value) asked[name] = at(name).value;
  const { edits } = state;
  return during("Searching…", async () => {
    const { answers } = await call("/api/search", asked);
    if (edits !== state.edits) {
      say("The boxes were changed during the search, so its answers are left out: search again.");
      return;
    }
    state.answers = answers;
    if (scene.selected < 0 && scene.boxes.length) scene.select(0);
    showAnswers();
    say(`Done. ${nearest()}`);
  });
}

function current() {
  return state.answers?.[Math.max(scene.selected, 0)];
}

function nearest() {
  const best = current()?.people[0];
  if (!best) return "Nobody found.";
  return `Nearest: ${who(best)}${best.verdict ? `, ${best.verdict}` : ""}, score ${best.similarity.toFixed(3)}.`;
}

function showAnswers() {
  const several = state.answers && scene.boxes.length > 1 ? state.answers : [];
  at("tabs").replaceChildren(...several.map((_, index) => {
    const pressed = String(index === scene.selected);
    const button = element("button", { type: "button", "aria-pressed": pressed }, `Box ${index + 1}`);
    button.addEventListener("click", () => {
      scene.select(index);
      at("tabs").children[index].focus();
    });
    return button;
  }));
  const answer = current();
  at("facts").replaceChildren(...(answer ? facts(answer) : [element("p", {}, "None yet.")]));
  at("people").replaceChildren(...(answer ? people(answer, state.info.read_only ? null : askToErase) : []));
}

function add(form) {
  const asked = { image: state.image, box: scene.box };
  for (const [name, value] of new FormData(form)) if (value) asked[name] = name === "thumbnail" ? true : value;
  return during("Adding…", async () => {
    const { added } = await call("/api/add", asked);
    await refresh();
    say(added ? `${asked.pid} was added.` : "This image, or this box of it, is in the gallery already; it stays as it was.");
  });
}

async function askToErase(person, button) {
  const asked = person.pid === null ? { keys: person.images.map((image) => image.key) } : { pid: person.pid, domain: person.domain };
  await during("Counting…", async () => {
    const { images } = await call("/api/erase", { ...asked, dry_run: true });
    at("erase-text").textContent = `${images} ${images === 1 ? "image" : "images"} of ${who(person)}: no byte of them will be left in the gallery's files. Images, files of features and backups elsewhere stay.`;
    say("");
    at("erase").showModal();
    at("erase-no").focus();
  });
  at("erase-yes").onclick = () => {
    at("erase").close();
    during("Erasing…", async () => {
      const done = await call("/api/erase", asked);
      const gone = (one) => one.pid === person.pid && one.domain === person.domain && (one.pid !== null || one.images[0].key === asked.keys[0]);
      for (const answer of state.answers ?? []) answer.people = answer.people.filter((one) => !gone(one));
      await refresh();
      showAnswers();
      at("answers").focus();
      say(`${done.images} ${done.images === 1 ? "image was" : "images were"} erased.`);
    });
  };
  at("erase-no").onclick = () => at("erase").close();
  at("erase").onclose = () => button.isConnected && button.focus();
}

at("file").addEventListener("change", (event) => take(event.target.files[0]));
at("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
at("add").addEventListener("submit", (event) => { event.preventDefault(); add(event.target); });
at("domain").addEventListener("change", showCameras);
at("add-box").addEventListener("click", () => scene.addInMiddle());
at("remove-box").addEventListener("click", () => scene.removeSelected());
at("clear-boxes").addEventListener("click", () => scene.clear());
at("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  remember(at("token").value);
  refresh().then(() => say(""), complain);
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file && !at("main").hidden) { event.preventDefault(); take(file); }
});
document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (!at("main").hidden) take(event.dataTransfer.files[0]);
});

showButtons();
refresh().then(showAnswers, complain);
