/** What is said to a screen reader, and notices that go away by themselves. */
import { element, setText } from "./dom.js";

const LINES_SPOKEN = 3;
const NOTICE_MS = 4_000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Have a screen reader say a line.
 *
 * @param {import("./transcript.js").Line} line
 */
export function speakLine(line) {
  const spoken = element("spoken", HTMLElement);
  const paragraph = document.createElement("p");
  paragraph.textContent = line.words.map(({ text }) => text).join(" ");
  spoken.append(paragraph);
  while (spoken.childElementCount > LINES_SPOKEN) spoken.firstElementChild?.remove();
}

/** @param {string} text */
export function notify(text) {
  const notice = element("notice", HTMLElement);
  setText(notice, text);
  notice.classList.add("seen");
  clearTimeout(timer);
  timer = setTimeout(() => {
    notice.classList.remove("seen");
    setText(notice, "");
  }, NOTICE_MS);
}
