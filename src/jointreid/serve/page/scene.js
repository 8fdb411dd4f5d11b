// Boxes on an image: drawn with a pointer, or added, moved and resized with the keyboard. All in pixels of the image.

const LEAST = 4;

export class Scene {
  constructor({ scene, picture, layer, fields, onChange }) {
    Object.assign(this, { scene, picture, layer, fields, onChange });
    this.boxes = [];
    this.selected = -1;
    this.limit = 32;
    scene.addEventListener("pointerdown", (event) => this.#draw(event));
    fields.forEach((field, place) => field.addEventListener("change", () => this.#typed(place, field)));
  }

  get width() { return this.picture.naturalWidth; }

  get height() { return this.picture.naturalHeight; }

  get box() { return this.boxes[this.selected] ?? null; }

  clear() {
    this.boxes = [];
    this.#select(-1);
  }

  addInMiddle() {
    const [w, h] = [Math.round(this.width / 4), Math.round(this.height / 2)];
    this.add([Math.round((this.width - w) / 2), Math.round((this.height - h) / 2), Math.max(w, 1), Math.max(h, 1)]);
    this.layer.children[this.selected]?.focus();
  }

  add(box) {
    if (this.boxes.length >= this.limit) return;
    this.boxes.push(this.#inside(box));
    this.#select(this.boxes.length - 1);
  }

  removeSelected() {
    if (!this.box) return;
    this.boxes.splice(this.selected, 1);
    this.#select(Math.min(this.selected, this.boxes.length - 1));
    this.layer.children[this.selected]?.focus();
  }

  select(index) { this.#select(index, false); }

  #select(index, edited = true) {
    this.selected = index;
    this.#show();
    this.onChange(edited);
  }

  #inside([x, y, w, h]) {
    const left = Math.min(Math.max(Math.round(x), 0), this.width - 1);
    const top = Math.min(Math.max(Math.round(y), 0), this.height - 1);
    return [left, top, Math.max(1, Math.min(Math.round(w), this.width - left)), Math.max(1, Math.min(Math.round(h), this.height - top))];
  }

  #change(box) {
    this.boxes[this.selected] = this.#inside(box);
    this.#show();
    this.onChange(true);
  }

  #typed(place, field) {
    if (!this.box || field.value === "") return;
    const box = [...this.box];
    box[place] = Number(field.value);
    this.#change(box);
  }

  #show() {
    while (this.layer.children.length > this.boxes.length) this.layer.lastChild.remove();
    while (this.layer.children.length < this.boxes.length) this.layer.append(this.#button());
    this.boxes.forEach(([x, y, w, h], index) => {
      const button = this.layer.children[index];
      button.setAttribute("aria-pressed", String(index === this.selected));
      button.setAttribute("aria-label", `Box ${index + 1}: left ${x}, top ${y}, ${w} wide, ${h} high`);
      button.firstChild.textContent = index + 1;
      this.#place(button, [x, y, w, h]);
    });
    this.fields.forEach((field, place) => { field.value = this.box ? this.box[place] : ""; });
  }

  #place(element, [x, y, w, h]) {
    Object.assign(element.style, {
      left: `${(100 * x) / this.width}%`,
      top: `${(100 * y) / this.height}%`,
      width: `${(100 * w) / this.width}%`,
      height: `${(100 * h) / this.height}%`,
    });
  }

  #button() {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "box";
    button.setAttribute("aria-describedby", "box-hint");
    button.append(document.createElement("span"));
    const index = () => [...this.layer.children].indexOf(button);
    button.addEventListener("click", () => this.select(index()));
    button.addEventListener("keydown", (event) => this.#key(event, index()));
    return button;
  }

  #key(event, index) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Delete" || event.key === "Backspace") {
      this.selected = index;
      this.removeSelected();
    } else if (event.key in moves) {
      this.selected = index;
      const [dx, dy] = moves[event.key];
      const step = Math.max(1, Math.round(Math.max(this.width, this.height) / 100));
      const [x, y, w, h] = this.box;
      if (event.shiftKey) this.#change([x, y, w + dx * step, h + dy * step]);
      else this.#change([Math.min(Math.max(x + dx * step, 0), this.width - w), Math.min(Math.max(y + dy * step, 0), this.height - h), w, h]);
    } else {
      return;
    }
    event.preventDefault();
  }

  #point(event) {
    const frame = this.picture.getBoundingClientRect();
    const share = (value, least, size) => Math.min(Math.max((value - least) / size, 0), 1);
    return [
      share(event.clientX, frame.left, frame.width) * this.width,
      share(event.clientY, frame.top, frame.height) * this.height,
    ];
  }

  #draw(event) {
    if (event.button !== 0 || !this.width || event.target.closest(".box")) return;
    const [startX, startY] = this.#point(event);
    const shape = document.createElement("div");
    shape.className = "box drawn";
    this.scene.append(shape);
    const boxTo = (later) => {
      const [x, y] = this.#point(later);
      return [Math.min(x, startX), Math.min(y, startY), Math.abs(x - startX), Math.abs(y - startY)];
    };
    const move = (later) => this.#place(shape, boxTo(later));
    const end = (later) => {
      this.scene.removeEventListener("pointermove", move);
      this.scene.removeEventListener("pointerup", end);
      this.scene.removeEventListener("pointercancel", end);
      shape.remove();
      const box = boxTo(later);
      if (later.type === "pointerup" && box[2] >= LEAST && box[3] >= LEAST) this.add(box);
    };
    this.scene.setPointerCapture(event.pointerId);
    this.scene.addEventListener("pointermove", move);
    this.scene.addEventListener("pointerup", end);
    this.scene.addEventListener("pointercancel", end);
    event.preventDefault();
  }
}
