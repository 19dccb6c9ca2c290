// Two trials, named in the address, side by side.
"use strict";
(() => {
  const { charts, el, remembered, statusClass, trial } = lstmbench;
  const byId = (id) => document.getElementById(id);
  /** Groups of facts, by their key, in which a difference makes the ratio mean less; their facts that may differ. */
  const ALIKE = new Map([
    ["setting", ["backend", "mode", "repeat", "environment of the backend"]],
    ["protocol", []],
  ]);

  function nothing(reason) {
    byId("comparison").hidden = true;
    byId("nothing").hidden = false;
    byId("nothing").querySelector("[data-reason]").textContent = reason;
  }

  /** Names in the order of `a`, then what only `b` has. */
  function merged(a, b) {
    const [left, right] = [new Map(a), new Map(b)];
    return [...new Set([...left.keys(), ...right.keys()])].map((name) => {
      const pair = [left.get(name) ?? "", right.get(name) ?? ""];
      return { name, pair, differs: pair[0] !== pair[1] };
    });
  }

  function groups(a, b) {
    const [left, right] = [a, b].map((side) => new Map(side.groups.map(([key, , pairs]) => [key, pairs])));
    const titles = new Map([...a.groups, ...b.groups].map(([key, title]) => [key, title]));
    return [
      { key: "figures", title: "Figures", facts: merged(a.figures, b.figures) },
      ...[...titles].map(([key, title]) => (
        { key, title, facts: merged(left.get(key) ?? [], right.get(key) ?? []) })),
    ];
  }

  function card(found, slug, hue, letter) {
    return el("div", { class: "side" },
      el("p", { class: "letter" }, letter),
      el("h2", {}, el("a", { href: `trials/${slug}.html` }, found.label), ` on ${found.device}`),
      el("p", { class: "note" }, found.about),
      el("p", {}, el("span", { class: statusClass(found.status) }, found.status)),
      ...(found.message ? [el("p", { class: "note" }, found.message)] : []),
    );
  }

  /** Digits that one process each can carry. */
  const ratio = (value) => value.toPrecision(3);

  function verdict(a, b, slug) {
    const place = byId("verdict");
    if (!a.speed || !b.speed) {
      place.textContent = "At least one of them has no speed: no ratio.";
      return;
    }
    const known = new Map(Object.entries(a.ratios)).get(slug);
    place.replaceChildren(
      "A trains ", el("strong", {}, `${known ?? ratio(a.speed / b.speed)} ×`),
      " as many tokens/s as B. ",
      el("span", { class: "note" }, known ? "Over all repeats of both, with the 95 % interval."
        : "Of one process each, so without an interval."));
  }

  function warn(found) {
    const unlike = found.flatMap(({ key, facts }) => ALIKE.has(key)
      ? facts.filter((fact) => fact.differs && !ALIKE.get(key).includes(fact.name)) : []);
    const machine = found.find(({ key }) => key === "machine");
    if (machine && machine.facts.some((fact) => fact.name === "digest" && fact.differs)) {
      unlike.push({ name: "machine" });
    }
    const place = byId("unlike");
    place.hidden = unlike.length === 0;
    place.textContent = `Not the same experiment; different: ${unlike.map((fact) => fact.name).join(", ")}.`;
  }

  function table(found, a, b) {
    const only = byId("only").checked;
    const place = byId("facts");
    const head = el("thead", {}, el("tr", {}, el("td", {}),
      el("th", { scope: "col" }, `A: ${a.label}`), el("th", { scope: "col" }, `B: ${b.label}`)));
    place.replaceChildren(head);
    for (const { title, facts } of found) {
      const shown = facts.filter((fact) => fact.differs || !only);
      if (!shown.length) continue;
      place.append(el("tbody", {},
        el("tr", { class: "title" }, el("th", { scope: "rowgroup", colspan: 3 }, title)),
        ...shown.map(({ name, pair, differs }) => el("tr", { class: differs ? "differs" : null },
          el("th", { scope: "row" }, name, ...(differs ? [el("span", { class: "hidden" }, " (differs)")] : [])),
          el("td", {}, pair[0]), el("td", {}, pair[1])))));
    }
  }

  async function show() {
    const wanted = remembered();
    const slugs = [wanted.get("a"), wanted.get("b")];
    if (!slugs[0] || !slugs[1]) return nothing("");
    let a, b;
    try {
      [a, b] = await Promise.all(slugs.map(trial));
    } catch (error) {
      return nothing(`There is no such trial: ${error.message}.`);
    }
    byId("nothing").hidden = true;
    byId("comparison").hidden = false;
    document.title = `${a.label} and ${b.label} · lstmbench`;
    byId("versus").replaceChildren(card(a, slugs[0], 0, "A"), card(b, slugs[1], 1, "B"));
    const found = groups(a, b);
    verdict(a, b, slugs[1]);
    warn(found);
    table(found, a, b);
    byId("only").onchange = () => table(found, a, b);
    const sides = [[a, "A"], [b, "B"]].map(([side, letter], i) => (
      { trial: side, name: `${letter}: ${side.label}`, hue: i, stroke: i }));
    const entries = sides.filter(({ trial: side }) => side.perplexity !== "");
    byId("curves").hidden = entries.length === 0;
    if (entries.length) await charts.curves(byId("curves"), entries);
    return undefined;
  }

  addEventListener("hashchange", show);
  show();
})();
