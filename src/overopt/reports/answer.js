// Search on the front page, and the numbers of a mark under the pointer; the pages are whole without either.
(() => {
  "use strict";
  const find = document.getElementById("find");
  if (find) search(find);
  tips();

  function search(frame) {
    const box = document.getElementById("box");
    const shown = document.getElementById("shown");
    const buttons = [...frame.querySelectorAll("button[data-agreement]")];
    const claims = [...document.querySelectorAll("tr[data-claim]")];
    const groups = [...document.querySelectorAll("tbody[data-group]")];
    const cards = [...document.querySelectorAll(".card[data-search]")];
    let wanted = "";

    function filter() {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      const holds = (element) => words.every((word) => element.dataset.search.includes(word));
      for (const claim of claims) claim.hidden = !(holds(claim) && (!wanted || claim.dataset.agreement === wanted));
      for (const group of groups) group.hidden = !group.querySelector("tr[data-claim]:not([hidden])");
      for (const card of cards) {
        card.hidden = !(holds(card) && (!wanted || card.dataset.agreements.split(" ").includes(wanted)));
      }
      const left = (all) => `${all.filter((element) => !element.hidden).length} of ${all.length}`;
      shown.textContent = words.length || wanted ? `${left(claims)} claims, ${left(cards)} questions` : "";
    }

    for (const button of buttons) {
      button.addEventListener("click", () => {
        wanted = wanted === button.dataset.agreement ? "" : button.dataset.agreement;
        for (const other of buttons) other.setAttribute("aria-pressed", String(other.dataset.agreement === wanted));
        filter();
      });
    }
    box.addEventListener("input", filter);
    frame.hidden = false;
    const tally = document.getElementById("tally");
    if (tally) tally.hidden = true; // the buttons say the same
    filter();
  }

  function tips() {
    const tip = document.createElement("div");
    tip.id = "tip";
    tip.hidden = true;
    tip.setAttribute("aria-hidden", "true"); // a screen reader has the same words from the mark
    document.body.append(tip);
    document.addEventListener("pointerover", (event) => {
      const mark = event.target.closest && event.target.closest('.plot [role="graphics-symbol"][aria-label]');
      tip.hidden = !mark;
      if (!mark) return;
      tip.textContent = mark.getAttribute("aria-label").replaceAll("; ", "\n");
      const place = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
      const inside = (value, most) => Math.max(4, Math.min(value, most));
      tip.style.left = `${inside(place.left + place.width / 2 - own.width / 2, window.innerWidth - own.width - 4)}px`;
      tip.style.top = `${place.top - own.height - 8 > 4 ? place.top - own.height - 8 : place.bottom + 8}px`;
    });
    document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });
  }
})();
