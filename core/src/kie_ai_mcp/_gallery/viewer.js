// The viewer: every picture that is not filtered away, one after the other; and one player at a time.

{
  const viewer = byId("viewer");
  let shots = [];
  let index = 0;

  const view = (next) => {
    index = (next + shots.length) % shots.length;
    const shot = shots[index];
    byId("large").src = shot.href;
    byId("large").alt = shot.firstElementChild.alt;
    byId("file").href = shot.href;
    byId("file").hidden = shot.protocol === "data:"; // browsers open no such page
    const card = [...drawn.values()].find(({ node }) => node.contains(shot));
    byId("caption").textContent = card ? plain(promptOf(card.entry)) : "";
  };

  document.addEventListener("click", (event) => {
    const shot = event.target.closest?.(".shot");
    if (!shot || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (!shot.firstElementChild.getAttribute("src")) return; // it is still being read
    shots = [...document.querySelectorAll(".card:not([hidden]) .shot:has([src])")];
    view(shots.indexOf(shot));
    viewer.showModal();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") view(index - 1);
    if (event.key === "ArrowRight") view(index + 1);
  });
  viewer.addEventListener("close", () => {
    byId("large").removeAttribute("src");
    shots[index]?.focus();
  });
  byId("previous").addEventListener("click", () => view(index - 1));
  byId("next").addEventListener("click", () => view(index + 1));
  byId("close").addEventListener("click", () => viewer.close());
}

document.addEventListener(
  "play",
  (event) => {
    for (const other of document.querySelectorAll("video, audio")) if (other !== event.target) other.pause();
  },
  true,
);
