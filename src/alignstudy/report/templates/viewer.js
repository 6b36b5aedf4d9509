"use strict";
(function () {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const PAGE = 10;
  const byId = (id) => document.getElementById(id);
  const state = { page: 0, hidden: new Set(), shown: new Set() };

  // Text goes into the page as text only; nothing that a model wrote is ever parsed as HTML.
  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function spread(prompt) {
    const scores = prompt.answers.map((a) => a.s[0]).filter((s) => s !== null);
    return scores.length ? Math.max(...scores) - Math.min(...scores) : -1;
  }

  const tests = {
    all: () => true,
    differ: (p) => new Set(p.answers.map((a) => a.l[0]).filter(Boolean)).size > 1,
    judges: (p) => p.answers.some((a) => new Set(a.l.filter(Boolean)).size > 1),
    empty: (p) => p.answers.some((a) => a.t.trim() === ""),
    cut: (p) => p.answers.some((a) => a.e.startsWith("cut")),
  };

  function selected() {
    const axis = byId("axis").value;
    const test = tests[byId("show").value];
    const words = byId("search").value.trim().toLowerCase();
    const found = data.prompts.filter((p) => {
      if (axis && p.axis !== axis) return false;
      const answers = p.answers.filter((a) => !state.hidden.has(a.m));
      if (!test({ answers })) return false;
      if (!words) return true;
      return [p.name, p.id, p.prompt, ...answers.map((a) => a.t)].some((t) => t.toLowerCase().includes(words));
    });
    if (byId("order").value === "spread") found.sort((a, b) => spread(b) - spread(a));
    return found;
  }

  function turns(text) {
    const box = make("div", "text");
    for (const part of text.split(/\n\n(?=(?:Human|Assistant):)/)) {
      const turn = make("p");
      const tag = /^\s*(Human|Assistant):/.exec(part);
      if (tag) turn.append(make("b", "", tag[0].trim()));
      turn.append(document.createTextNode(tag ? part.slice(tag[0].length) : part));
      box.append(turn);
    }
    return box;
  }

  function scoreLine(answer) {
    const line = make("p", "meta");
    data.judges.forEach((judge, i) => {
      const score = answer.s[i];
      const written = score === null ? "no score" : score.toFixed(2).replace("-", "\u2212");
      const name = data.judges.length > 1 ? judge + ": " : "";
      const label = answer.l[i];
      const bad = label.startsWith("not ");
      line.append(make("span", "badge" + (label ? (bad ? " fails" : " passes") : ""), name + written + (label ? " \u00b7 " + label : "")));
    });
    const how = [answer.e, answer.n === null ? "" : answer.n + " tokens"].filter(Boolean).join(", ");
    if (how) line.append(make("span", "how", how));
    return line;
  }

  function card(prompt) {
    const key = prompt.axis + "/" + prompt.id;
    const box = make("article", "card");
    const head = make("header");
    head.append(make("h3", "", prompt.name), make("span", "how", prompt.id));
    const body = make("div", "body");
    if (prompt.axis === "harmless" && !byId("reveal").checked && !state.shown.has(key)) {
      body.classList.add("blurred");
      body.setAttribute("aria-hidden", "true");
      body.inert = true;
      const button = make("button", "", "Show");
      button.type = "button";
      button.setAttribute("aria-label", "Show the text of " + prompt.name);
      button.addEventListener("click", () => {
        state.shown.add(key);
        body.classList.remove("blurred");
        body.removeAttribute("aria-hidden");
        body.inert = false;
        button.remove();
      });
      head.append(button);
    }
    const asked = turns(prompt.prompt);
    asked.classList.add("asked");
    asked.tabIndex = 0;
    asked.setAttribute("role", "region");
    asked.setAttribute("aria-label", "Prompt " + prompt.name);
    const grid = make("div", "grid");
    for (const answer of prompt.answers) {
      if (state.hidden.has(answer.m)) continue;
      const cell = make("section", "answer-cell");
      cell.append(make("h4", "", data.columns[answer.m]), scoreLine(answer));
      cell.append(answer.t.trim() === "" ? make("p", "empty", "empty response") : turns(answer.t));
      grid.append(cell);
    }
    body.append(asked, grid);
    box.append(head, body);
    return box;
  }

  function draw() {
    const found = selected();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const from = state.page * PAGE;
    byId("cards").replaceChildren(...found.slice(from, from + PAGE).map(card));
    byId("found").textContent = found.length + " of " + data.prompts.length + " prompts";
    byId("page").textContent = "page " + (state.page + 1) + " of " + pages;
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page === pages - 1;
  }

  function restart() {
    state.page = 0;
    draw();
  }

  function turn(step) {
    state.page += step;
    draw();
    byId("viewer").scrollIntoView();
  }

  data.columns.forEach((name, i) => {
    const label = make("label", "check");
    const box = make("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) state.hidden.delete(i);
      else state.hidden.add(i);
      restart();
    });
    label.append(box, document.createTextNode(" " + name));
    byId("columns").append(label);
  });
  if (data.judges.length < 2) byId("show").querySelector("option[value=judges]").remove();
  for (const id of ["axis", "show", "order", "reveal"]) byId(id).addEventListener("change", restart);
  let timer = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(restart, 150);
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
  });
  byId("viewer").hidden = false;
  draw();
})();
