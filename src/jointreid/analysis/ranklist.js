"use strict";
// Shows the ranked lists of `#data`, a page at a time. All text from the data goes through textContent.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PER_PAGE = 20;
  const SVG = "http://www.w3.org/2000/svg";
  const form = document.getElementById("filters");
  const list = document.getElementById("queries");
  const count = document.getElementById("count");
  const pagers = [...document.querySelectorAll(".pager")];
  const field = (name) => form.elements[name];
  let found = [];
  let page = 0;

  const rows = data.domains.flatMap((domain) =>
    domain.queries.map((query, index) => ({
      domain, query, index,
      pid: domain.images[query.image][1],
      camera: domain.images[query.image][2],
      top: query.answers.find((answer) => answer[2] !== "junk"),
    }))
  );
  const hasMatch = (row) => row.query.first !== null;
  const SHOWN = {
    all: () => true,
    wrong: (row) => hasMatch(row) && row.query.first > 1,
    none: (row) => hasMatch(row) && row.query.first > data.length,
    right: (row) => row.query.first === 1,
    unmatched: (row) => !hasMatch(row),
  };
  const ap = (row) => (row.query.ap === null ? 2 : row.query.ap);
  const distance = (row) => (row.top ? row.top[1] : Infinity);
  const ORDERS = {
    ap: (a, b) => ap(a) - ap(b),
    data: () => 0,
    near: (a, b) => distance(a) - distance(b),
  };
  const answerCamera = (row) => (row.top ? row.domain.images[row.top[0]][2] : null);

  function element(name, attributes = {}, ...content) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...content);
    return made;
  }

  function mark(kind) {
    const drawn = document.createElementNS(SVG, "svg");
    drawn.setAttribute("class", `mark ${kind}`);
    drawn.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(SVG, "use");
    use.setAttribute("href", `#${kind}`);
    drawn.append(use);
    return drawn;
  }

  // The folder is an address already; names of files are plain.
  function picture(file, alt, title) {
    return element("img", { src: `${data.folder}/${file}`, alt, title, loading: "lazy", decoding: "async" });
  }

  function value(distance) {
    if (!data.similarity) return distance.toPrecision(4);
    return (-distance).toFixed(3);
  }

  function person(pid) {
    return pid === "" ? "distractor" : pid;
  }

  function answerItem(row, answer, rank) {
    const [file, pid, camera, path] = row.domain.images[answer[0]];
    const kind = answer[2];
    const words = `${kind === "junk" ? "not counted" : `rank ${rank}, ${kind}`}: ${person(pid)}, camera ${camera}`;
    const frame = element("span", { class: "frame" }, picture(file, words, path), mark(kind));
    const name = element("span", { class: "pid", title: person(pid) }, person(pid));
    const small = element("small", {}, name, element("br"), `cam ${camera}`, element("br"), value(answer[1]));
    return element("li", { class: kind }, frame, small);
  }

  function mapsOf(row) {
    const [own, other, similarity] = row.query.maps;
    const sum = `similarity ${similarity.toFixed(3)}`;
    return element("figure", { class: "maps" },
      picture(own, "query: where the similarity comes from", sum),
      picture(other, "first answer: where the similarity comes from", sum),
      element("figcaption", {}, `Why the query and its first answer are alike: ${sum}`));
  }

  function article(row) {
    const [file, pid, camera, path] = row.domain.images[row.query.image];
    const { first, ap: precision, matches } = row.query;
    const facts = element("figcaption", {},
      element("b", {}, "Query"), element("br"), element("span", { class: "pid", title: pid }, person(pid)),
      element("br"), `camera ${camera}`, element("br"), `${matches} match${matches === 1 ? "" : "es"}`);
    const asked = element("figure", { class: "asked" }, picture(file, `query: ${person(pid)}, camera ${camera}`, path), facts);
    const result = first === null
      ? "No image in the gallery is a right answer: the evaluation left this query out."
      : `First match at rank ${first}, average precision ${(100 * precision).toFixed(1)}%`;
    const answers = element("ol");
    let rank = 0;
    for (const answer of row.query.answers) {
      if (answer[2] !== "junk") rank += 1;
      else if (!field("junk").checked) continue;
      answers.append(answerItem(row, answer, rank));
    }
    const title = element("h2", {}, `${row.domain.name} · query ${row.index + 1}`);
    const ranked = element("div", { class: "ranked" }, title, element("p", {}, element("span", {}, result)), answers);
    if (row.query.maps) ranked.append(mapsOf(row));
    return element("article", { class: "query" }, asked, ranked);
  }

  function options(select, values) {
    const kept = select.value;
    select.replaceChildren(select.options[0], ...values.map((text) => element("option", { value: text }, `${text}`)));
    select.value = [...select.options].some((option) => option.value === kept) ? kept : "";
  }

  function offerCameras() {
    const rowsHere = rows.filter((row) => !field("domain").value || row.domain.name === field("domain").value);
    const sorted = (values) => [...new Set(values)].filter((camera) => camera !== null).sort((a, b) => a - b);
    options(field("camera"), sorted(rowsHere.map((row) => row.camera)));
    options(field("answer"), sorted(rowsHere.map(answerCamera)));
  }

  function select() {
    const wanted = (name, value) => field(name).value === "" || field(name).value === `${value}`;
    const text = field("person").value.trim();
    found = rows.filter((row) =>
      wanted("domain", row.domain.name) && SHOWN[field("show").value](row) && wanted("camera", row.camera) &&
      wanted("answer", answerCamera(row)) && (text === "" || row.pid === text));
    found.sort(ORDERS[field("order").value]);
    page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const from = page * PER_PAGE;
    list.replaceChildren(...found.slice(from, from + PER_PAGE).map(article));
    const share = rows.length ? ` (${(100 * found.length / rows.length).toFixed(1)}%)` : "";
    count.textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} queries${share}`;
    for (const pager of pagers) {
      pager.hidden = pages === 1;
      pager.querySelector(".place").textContent = `page ${page + 1} of ${pages}`;
      pager.querySelector(".back").disabled = page === 0;
      pager.querySelector(".on").disabled = page === pages - 1;
    }
  }

  // The reader goes on above the lists. A button there keeps the focus, so that it can be pressed again.
  function turn(by, button) {
    page += by;
    show();
    form.scrollIntoView();
    if (button.disabled || !pagers[0].contains(button)) count.focus({ preventScroll: true });
  }

  for (const pager of pagers) {
    pager.querySelector(".back").addEventListener("click", (event) => turn(-1, event.currentTarget));
    pager.querySelector(".on").addEventListener("click", (event) => turn(1, event.currentTarget));
  }
  options(field("domain"), data.domains.map((domain) => domain.name));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === field("domain")) offerCameras();
    if (event.target === field("junk")) show();
    else select();
  });
  offerCameras();
  select();
})();
