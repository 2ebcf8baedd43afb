// A small sheet of equally likely faces: draws from the same belief.

export const FACES = 6;
export const FACE_PIXELS = 192;

export const newSeed = () => Math.floor(Math.random() * 2 ** 31);

export class Faces {
  constructor(list) {
    this.list = list;
    this.canvases = Array.from({ length: FACES }, (_, index) => {
      const item = document.createElement("li");
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = FACE_PIXELS;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Face ${index + 1}: not drawn yet`);
      item.append(canvas);
      return canvas;
    });
    list.replaceChildren(...this.canvases.map((canvas) => canvas.parentElement));
  }

  /** One picture with all faces side by side. */
  async showStrip(blob) {
    const strip = await createImageBitmap(blob);
    this.canvases.forEach((canvas, index) => this.draw(canvas, index, strip, index * strip.height, strip.height));
    strip.close();
  }

  /** One picture for each face. */
  async show(blobs) {
    for (const [index, blob] of blobs.slice(0, FACES).entries()) {
      const picture = await createImageBitmap(blob);
      this.draw(this.canvases[index], index, picture, 0, picture.width);
      picture.close();
    }
  }

  draw(canvas, index, picture, left, size) {
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, left, 0, size, size, 0, 0, canvas.width, canvas.height);
    canvas.dataset.drawn = "yes";
    canvas.setAttribute("aria-label", `Synthetic face ${index + 1} of ${FACES}, as likely as the others`);
  }

  clear() {
    this.canvases.forEach((canvas, index) => {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      delete canvas.dataset.drawn;
      canvas.setAttribute("aria-label", `Face ${index + 1}: not drawn yet`);
    });
  }
}
