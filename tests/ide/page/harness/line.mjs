// The network between a browser and a hub, which can be cut and mended.

import { connect, createServer } from 'node:net';

export class Line {
  #ends = new Set();
  #isCut = false;
  #isLastUpload = false;

  /** A line to the hub at `url`; `origin` is where the browser finds it. */
  static async to(url) {
    const { hostname, port } = new URL(url);
    const line = new Line();
    line.server = createServer((near) => line.#join(near, connect(Number(port), hostname)));
    await new Promise((resolve) => line.server.listen(0, '127.0.0.1', resolve));
    line.origin = `http://127.0.0.1:${line.server.address().port}`;
    return line;
  }

  /** Whatever is on its way is lost, and nobody gets through. */
  cut() {
    this.#isCut = true;
    for (const end of this.#ends) end.destroy();
  }

  mend() {
    this.#isCut = false;
  }

  /** What the browser says next on its websocket still arrives; the answer does not. */
  cutAfterNextUpload() {
    this.#isLastUpload = true;
  }

  async close() {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  #carry(said, isUpload, to) {
    const isLast = isUpload && this.#isLastUpload && isMessage(said);
    if (isLast) this.#isLastUpload = false;
    to.write(said, () => {
      if (isLast) this.cut();
    });
  }

  #join(near, far) {
    if (this.#isCut) {
      near.destroy();
      far.destroy();
      return;
    }
    for (const [end, other] of [[near, far], [far, near]]) {
      this.#ends.add(end);
      end.on('data', (said) => this.#carry(said, end === near, other));
      end.on('error', () => undefined);
      end.on('close', () => {
        this.#ends.delete(end);
        other.destroy();
      });
    }
  }
}

/** A frame of a websocket with more in it than an answer to a ping. */
function isMessage(said) {
  const FINAL_TEXT = 0x81;
  return said[0] === FINAL_TEXT && said.length > 16;
}
