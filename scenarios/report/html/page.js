// What the page shows is in the fragment of its address: scenario, planner, seed, section.
"use strict";

const index = JSON.parse(document.getElementById("index").textContent);
const form = document.forms[0];
const all = (selector, place = document) => [...place.querySelectorAll(selector)];
const font = "system-ui, sans-serif";
const axis = {
  labelColor: "var(--ink)", titleColor: "var(--ink)", domainColor: "var(--muted)", tickColor: "var(--muted)",
  gridColor: "var(--grid)", labelFont: font, titleFont: font, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal",
};
const config = { background: null, font, view: { stroke: null }, axis };

function readState() {
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const unknown = [];
  const choose = (name, known, otherwise) => {
    if (name in asked && !known.includes(asked[name])) unknown.push(`${name} ${asked[name]}`);
    return known.includes(asked[name]) ? asked[name] : otherwise;
  };
  const scenario = choose("scenario", index.map((one) => one.label), index[0].label);
  const own = index.find((one) => one.label === scenario);
  const state = {
    scenario,
    planner: choose("planner", own.planners, own.baseline),
    seed: choose("seed", own.seeds, own.seeds[0]),
    section: choose("section", all("article:first-of-type section").map((one) => one.dataset.name), ""),
  };
  return { state, own, unknown, isChosen: "planner" in asked };
}

function linkTo(changes) {
  const state = { ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))), ...changes };
  return "#" + new URLSearchParams(state);
}

function fill(name, values, chosen) {
  const select = form.elements[name];
  select.replaceChildren(...values.map((value) => new Option(value, value, false, value === chosen)));
}

function show() {
  const { state, own, unknown, isChosen } = readState();
  fill("scenario", index.map((one) => one.label), state.scenario);
  fill("planner", own.planners, state.planner);
  fill("seed", own.seeds, state.seed);
  const note = document.getElementById("note");
  note.hidden = unknown.length === 0;
  note.textContent = `This report has no ${unknown.join(", ")}.`;
  for (const [attribute, value] of [["showScenario", state.scenario], ["showPlanner", state.planner], ["showSeed", state.seed]]) {
    const name = attribute.replace("show", "show-").toLowerCase();
    for (const one of all(`[data-${name}]`)) one.dataset[attribute + "Is"] = one.dataset[attribute] === value;
  }
  for (const one of all("[data-show-scenario], [data-show-planner], [data-show-seed]")) {
    one.hidden = ["showScenarioIs", "showPlannerIs", "showSeedIs"].some((name) => one.dataset[name] === "false");
  }
  for (const row of all("tr[data-planner]")) row.classList.toggle("chosen", isChosen && row.dataset.planner === state.planner);
  for (const row of all("tr[data-seed]")) row.hidden = own.seeds.length > 1 && row.dataset.seed !== state.seed;
  for (const link of all("[data-choose]")) {
    link.classList.toggle("chosen", isChosen && link.dataset.choose === state.planner);
    link.href = linkTo({ scenario: state.scenario, planner: link.dataset.choose });
  }
  for (const link of all("a[data-section]")) link.href = linkTo({ ...state, section: link.dataset.section });
  const mine = `[class*=" p${own.planners.indexOf(state.planner)}_"]`;
  document.getElementById("focus").textContent = isChosen
    ? `.several .chart g[class*=" p"]:not(${mine}) { opacity: 0.3; } .several .chart g${mine} path { stroke-width: 3; }` : "";
  const scroll = () => all(`article:not([hidden]) [data-name="${state.section}"]`)[0]?.scrollIntoView();
  scroll();
  drawVisible().then(scroll); // charts above it take their places now
}

function drawVisible() {
  const isShown = (place) => !place.closest("[hidden]") && !place.closest("details:not([open])");
  return Promise.all(all(".chart:not([data-drawn])").filter(isShown).map((place) => {
    place.dataset.drawn = "";
    const spec = JSON.parse(place.nextElementSibling.textContent);
    return vegaEmbed(place, spec, { mode: "vega-lite", renderer: "svg", actions: false, config }).catch((error) => {
      place.textContent = `This chart cannot be drawn: ${error.message}`;
      console.error(error);
    });
  }));
}

function sortBy(header) {
  const column = [...header.parentElement.children].indexOf(header);
  const isAscending = header.getAttribute("aria-sort") !== "ascending";
  const body = header.closest("table").tBodies[0];
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const figure = (text) => parseFloat(text.replaceAll(",", ""));
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    const gap = header.classList.contains("number") ? figure(x) - figure(y) : x.localeCompare(y);
    if (Number.isNaN(gap)) return Number.isNaN(figure(x)) - Number.isNaN(figure(y)); // nothing comes last
    return isAscending ? gap : -gap;
  };
  for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  body.append(...[...body.rows].sort(compare));
}

function toTsv(table) {
  const clean = (text) => text.replace(/\s+/g, " ").trim();
  const rows = [...table.rows].filter((row) => !row.hidden);
  return rows.map((row) => [...row.cells].map((cell) => cell.dataset.value ?? clean(cell.textContent)).join("\t")).join("\n");
}

function copy(text, button) {
  const done = () => { button.textContent = "Copied"; };
  const byHand = () => {
    const area = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
    area.select();
    document.execCommand("copy");
    area.remove();
    done();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand);
  else byHand();
}

document.addEventListener("click", ({ target }) => {
  const header = target.closest("th");
  if (header) sortBy(header);
  if (target.matches(".copy")) copy(toTsv(target.closest(".table").querySelector("table")), target);
  if (target.matches(".copy-text")) copy(target.nextElementSibling.textContent, target);
});
form.addEventListener("change", ({ target }) => {
  const changes = { [target.name]: target.value };
  location.hash = target.name === "scenario" ? new URLSearchParams(changes) : linkTo(changes);
});
document.addEventListener("toggle", drawVisible, true);
addEventListener("hashchange", show);
show();
