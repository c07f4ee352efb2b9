/** Files that are dropped on the page, or chosen. */
import { notify } from "./announce.js";
import { element } from "./dom.js";

/** @param {(file: File) => void} onFile */
export function listenForFiles(onFile) {
  /** @param {FileList | null} [files] */
  const take = (files) => {
    if (files?.length === 1) onFile(files[0]);
    else notify(files?.length ? "One recording at a time, please." : "That is not a file.");
  };
  const curtain = element("drop", HTMLElement);
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) curtain.hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    curtain.hidden = true;
    take(event.dataTransfer?.files);
  });
  const chooser = element("file", HTMLInputElement);
  chooser.addEventListener("change", () => {
    take(chooser.files);
    // The same file may be chosen again.
    chooser.value = "";
  });
}

/** @param {DragEvent} event */
function hasFiles({ dataTransfer }) {
  return dataTransfer?.types.includes("Files");
}
