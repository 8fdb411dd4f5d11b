// The answer for one box, as elements. Text is set as text: no name can become markup.

const SIGNS = { same: "✓ same person", different: "✗ different", unsure: "? unsure" };

export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...content.filter((part) => part !== null && part !== undefined));
  return made;
}

const share = (value) => `${Math.round(100 * value)}\u00a0%`;
const score = (value) => value.toFixed(3);
const when = (time) => (time ? `${time.slice(0, 16).replace("T", " ")} UTC` : "unknown");

export function who(person) {
  if (person.pid === null) return person.name ?? "unknown person";
  const name = person.name ? `${person.name} (${person.pid})` : person.pid;
  return person.domain ? `${name}, ${person.domain}` : name;
}

export function facts(answer) {
  const { seen } = answer;
  const parts = [];
  if (seen.domain !== null) parts.push(`domain ${seen.domain} (${share(seen.domain_probability)})`);
  if (seen.camera !== null) parts.push(`camera ${seen.camera} (${share(seen.camera_probability)})`);
  const lines = [];
  if (parts.length) lines.push(`The network believes it sees ${parts.join(" and ")}.`);
  const compared = answer.exact ? "all compared" : "compared by an index";
  const number = answer.searched_people.toLocaleString("en");
  const different = `${number} ${answer.searched_people === 1 ? "person" : "people"}`;
  lines.push(`${answer.searched.toLocaleString("en")} images searched, ${different}, ${compared}.`);
  if (!answer.people.length) lines.push("Nobody is left to compare with: the filters leave no image.");
  else if (answer.nobody) lines.push("Nobody in the gallery is close enough.");
  if (answer.note) lines.push(`${answer.note[0].toUpperCase()}${answer.note.slice(1)}.`);
  return lines.map((line) => element("p", {}, line));
}

export function people(answer, onErase) {
  return answer.people.map((person, index) => {
    const name = who(person);
    const head = element(
      "div", { class: "head" },
      element("h3", {}, `${index + 1}. ${name}`),
      element("span", { class: "verdict" }, SIGNS[person.verdict] ?? "no verdict"),
      element("span", {}, `score ${score(person.similarity)}`),
    );
    if (onErase) {
      const button = element("button", { type: "button", "aria-label": `Erase ${name}` }, "Erase…");
      button.addEventListener("click", () => onErase(person, button));
      head.append(button);
    }
    const images = element("ul", { class: "images" }, ...person.images.map((image) => picture(image, name)));
    return element("li", { class: person.verdict ?? "" }, head, images);
  });
}

function picture(image, name) {
  const camera = image.camera ?? "unknown";
  const rows = [["Camera", camera], ["Time", when(image.time)], ["Score", score(image.similarity)]];
  if (image.source) rows.push(["Source", image.source]);
  const list = element("dl", {}, ...rows.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]));
  const small = image.thumbnail && element("img", {
    src: `data:image/jpeg;base64,${image.thumbnail}`,
    alt: `${name} at camera ${camera}, ${when(image.time)}`,
  });
  return element("li", {}, small || null, list);
}
