"use strict";
(function () {
  const PAGE = 10;
  const byId = (id) => document.getElementById(id);
  const island = byId("viewer-data");
  if (!island) return;
  const data = JSON.parse(island.textContent);
  const veiled = new Set(data.axes.filter((axis) => axis.veiled).map((axis) => axis.name));
  const state = { page: 0, at: -1, hidden: new Set(), shown: new Set(), found: [] };
  const CHOICES = ["axis", "show", "flag", "a", "b", "order"];

  // Text goes into the page as text only; nothing that a model wrote is ever parsed as HTML.
  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function keyOf(prompt) {
    return prompt.axis + "/" + prompt.id;
  }

  // Made once: what search looks through, and where each prompt stands.
  const places = new Map();
  data.prompts.forEach((prompt, i) => {
    places.set(keyOf(prompt), i);
    prompt.at = i;
    prompt.index = [prompt.name + "\n" + prompt.id + "\n" + prompt.prompt].join("\n").toLowerCase();
    for (const answer of prompt.answers) answer.index = answer.t.toLowerCase();
  });

  function scoreOf(prompt, column) {
    const answer = prompt.answers.find((a) => a.m === column);
    return answer && answer.s.length ? answer.s[0] : null;
  }

  function labelOf(prompt, column) {
    const answer = prompt.answers.find((a) => a.m === column);
    return answer && answer.l.length ? answer.l[0] : "";
  }

  function gap(prompt, a, b) {
    const one = scoreOf(prompt, a);
    const two = scoreOf(prompt, b);
    return one === null || two === null ? -1 : Math.abs(one - two);
  }

  function spread(prompt) {
    const scores = prompt.answers.map((a) => a.s[0]).filter((s) => s !== null && s !== undefined);
    return scores.length ? Math.max(...scores) - Math.min(...scores) : -1;
  }

  function isNear(prompt, answer) {
    return answer.s.some((score, j) => {
      const limit = data.thresholds[prompt.axis][j];
      return score !== null && limit !== null && Math.abs(score - limit) <= data.near[prompt.axis][j];
    });
  }

  const tests = {
    every: () => true,
    pair: (p, answers, a, b) => {
      const one = labelOf(p, a);
      const two = labelOf(p, b);
      return one !== "" && two !== "" && one !== two;
    },
    differ: (p, answers) => new Set(answers.map((x) => x.l[0]).filter(Boolean)).size > 1,
    judges: (p, answers) => answers.some((x) => new Set(x.l.filter(Boolean)).size > 1),
    near: (p, answers) => answers.some((x) => isNear(p, x)),
    flagged: (p, answers) => answers.some((x) => x.f.length > 0),
    beyond: (p, answers) => answers.some((x) => x.x !== undefined || x.w !== undefined),
  };

  function choices() {
    const found = { q: byId("search").value.trim().toLowerCase() };
    for (const id of CHOICES) found[id] = byId(id).value;
    found.a = Number(found.a);
    found.b = Number(found.b);
    return found;
  }

  function selected() {
    const asked = choices();
    const test = tests[asked.show];
    const flag = data.flags.findIndex((f) => f.name === asked.flag);
    const found = data.prompts.filter((p) => {
      if (asked.axis && p.axis !== asked.axis) return false;
      const answers = state.hidden.size ? p.answers.filter((x) => !state.hidden.has(x.m)) : p.answers;
      if (flag >= 0 && !answers.some((x) => x.f.includes(flag))) return false;
      if (!test(p, answers, asked.a, asked.b)) return false;
      return !asked.q || p.index.includes(asked.q) || answers.some((x) => x.index.includes(asked.q));
    });
    if (asked.order === "given") return found;
    const weight = new Map(found.map((p) => [p, asked.order === "gap" ? gap(p, asked.a, asked.b) : spread(p)]));
    return found.sort((p, q) => weight.get(q) - weight.get(p) || p.at - q.at);
  }

  // A further turn inside a response is marked where it begins: the model wrote it itself.
  function turns(text, isResponse) {
    const box = make("div", "text");
    text.split(/\n+(?=\s*(?:Human|Assistant):)/).forEach((part, i) => {
      const turn = make("p");
      const tag = /^\s*(Human|Assistant):/.exec(part);
      if (isResponse && tag && (i > 0 || tag[1] === "Human")) box.append(make("p", "cut", "role tag: the response goes on with a turn of its own"));
      if (tag) turn.append(make("b", "", tag[0].trim()));
      turn.append(document.createTextNode(tag ? part.slice(tag[0].length) : part));
      box.append(turn);
    });
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
    for (const flag of answer.f) line.append(make("span", "badge flag", data.flags[flag].label));
    const how = answer.n === null ? "" : answer.n + " tokens";
    if (how) line.append(make("span", "how", how));
    return line;
  }

  function ending(answer) {
    const nodes = [];
    if (answer.e) nodes.push(make("p", "cut", answer.e));
    if (answer.x !== undefined) {
      nodes.push(make("p", "cut", "the judged text ends here; generated beyond it:"));
      const rest = turns(answer.x, false);
      rest.classList.add("beyond");
      nodes.push(rest);
    }
    if (answer.w !== undefined) {
      const fold = make("details");
      fold.append(make("summary", "", "as generated, before it was cut"), turns(answer.w, false));
      fold.lastChild.classList.add("beyond");
      nodes.push(fold);
    }
    for (const remark of answer.j || []) nodes.push(make("p", "how", remark));
    return nodes;
  }

  function cellOf(answer) {
    const cell = make("section", "answer-cell");
    const text = make("div", "veiled");
    text.append(answer.t.trim() === "" ? make("p", "empty", "empty response") : turns(answer.t, true));
    text.append(...ending(answer));
    cell.append(make("h4", "", data.columns[answer.m]), scoreLine(answer), text);
    return cell;
  }

  // Only texts are blurred: who passed and who did not can be seen without reading them.
  function veil(box, key, name) {
    const texts = [...box.querySelectorAll(".veiled")];
    const set = (hidden) => {
      for (const text of texts) {
        text.classList.toggle("blurred", hidden);
        text.toggleAttribute("aria-hidden", hidden);
        if (hidden) text.setAttribute("aria-hidden", "true");
        text.inert = hidden;
      }
    };
    const button = make("button", "show", "Show");
    button.type = "button";
    button.setAttribute("aria-label", "Show the text of " + name);
    button.addEventListener("click", () => {
      state.shown.add(key);
      set(false);
      button.remove();
      box.focus({ preventScroll: true });
    });
    set(true);
    return button;
  }

  function card(prompt) {
    const key = keyOf(prompt);
    const box = make("article", "card");
    box.tabIndex = -1;
    box.dataset.at = String(prompt.at);
    const head = make("header");
    const link = make("a", "to", "link");
    link.href = "#sample=" + encodeURIComponent(prompt.axis) + "/" + encodeURIComponent(prompt.id);
    link.setAttribute("aria-label", "Link to " + prompt.name);
    head.append(make("h3", "", prompt.name), make("span", "how", prompt.id), link);
    const asked = turns(prompt.prompt, false);
    asked.classList.add("asked", "veiled");
    asked.tabIndex = 0;
    asked.setAttribute("role", "region");
    asked.setAttribute("aria-label", "Prompt " + prompt.name);
    const grid = make("div", "grid");
    for (const answer of prompt.answers) {
      if (!state.hidden.has(answer.m)) grid.append(cellOf(answer));
    }
    box.append(head, asked, grid);
    if (veiled.has(prompt.axis) && !byId("reveal").checked && !state.shown.has(key)) {
      head.append(veil(box, key, prompt.name));
    }
    return box;
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const from = state.page * PAGE;
    byId("cards").replaceChildren(...state.found.slice(from, from + PAGE).map(card));
    byId("found").textContent = state.found.length + " of " + data.prompts.length + " prompts";
    byId("page").textContent = "page " + (state.page + 1) + " of " + pages;
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page === pages - 1;
    byId("near-note").hidden = byId("show").value !== "near";
    state.at = -1;
  }

  // The choices stand in the address, so that a view can be shared; history is not filled with them.
  function remember() {
    const said = [];
    for (const id of CHOICES) {
      const box = byId(id);
      if (box.value !== box.dataset.first) said.push(id + "=" + encodeURIComponent(id === "a" || id === "b" ? data.columns[box.value] : box.value));
    }
    const words = byId("search").value.trim();
    if (words) said.push("q=" + encodeURIComponent(words));
    if (state.hidden.size) said.push("hide=" + [...state.hidden].join(","));
    if (state.page) said.push("page=" + (state.page + 1));
    history.replaceState(null, "", said.length ? "#samples?" + said.join("&") : "#responses");
  }

  function restart() {
    state.page = 0;
    state.found = selected();
    draw();
    remember();
  }

  function turnTo(page, into) {
    state.page = page;
    draw();
    remember();
    (into || byId("viewer")).scrollIntoView();
  }

  function clear() {
    for (const id of CHOICES) byId(id).value = byId(id).dataset.first;
    byId("search").value = "";
    state.hidden.clear();
    for (const box of byId("columns").querySelectorAll("input")) box.checked = true;
    state.page = 0;
  }

  function focusCard(i) {
    const cards = byId("cards").children;
    if (!cards.length) return;
    state.at = Math.min(Math.max(0, i), cards.length - 1);
    cards[state.at].focus({ preventScroll: true });
    cards[state.at].scrollIntoView({ block: "start" });
  }

  function step(by) {
    const next = state.at + by;
    const last = Math.ceil(state.found.length / PAGE) - 1;
    if (next >= PAGE && state.page < last) {
      turnTo(state.page + 1);
      focusCard(0);
    } else if (next < 0 && state.at >= 0 && state.page > 0) {
      turnTo(state.page - 1);
      focusCard(PAGE - 1);
    } else focusCard(next);
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function columnOf(text) {
    const named = data.columns.indexOf(text);
    return named >= 0 ? named : data.models.indexOf(text);
  }

  function openSample(key) {
    const at = places.get(key);
    clear();
    state.found = selected();
    if (at === undefined) {
      draw();
      byId("found").textContent = "That prompt is not among the " + data.prompts.length + " in this file.";
      byId("viewer").scrollIntoView();
      return;
    }
    const place = state.found.findIndex((p) => p.at === at);
    state.page = Math.floor(place / PAGE);
    draw();
    focusCard(place % PAGE);
    byId("cards").children[place % PAGE].classList.add("target");
  }

  function openView(text) {
    clear();
    let page = 0;
    for (const part of text.split("&")) {
      const [name, ...rest] = part.split("=");
      const value = decoded(rest.join("="));
      if (name === "q") byId("search").value = value;
      else if (name === "page") page = Math.max(0, Number.parseInt(value, 10) - 1 || 0);
      else if (name === "hide") hide(value.split(",").map(Number));
      else if (name === "a" || name === "b") choose(name, String(columnOf(value)));
      else if (CHOICES.includes(name)) choose(name, value);
    }
    state.found = selected();
    state.page = page;
    draw();
    byId("viewer").scrollIntoView();
  }

  function choose(id, value) {
    if ([...byId(id).options].some((option) => option.value === value)) byId(id).value = value;
  }

  function hide(columns) {
    const boxes = byId("columns").querySelectorAll("input");
    for (const i of columns) {
      if (!boxes[i]) continue;
      boxes[i].checked = false;
      state.hidden.add(i);
    }
  }

  // What a link leads to may lie in a fold.
  function unfold(hash) {
    const into = hash.startsWith("#sample") ? byId("browse") : document.getElementById(decoded(hash.slice(1)));
    const inside = into && into.querySelector(":scope > details");
    for (const fold of [inside, into]) if (fold && "open" in fold) fold.open = true;
  }

  function follow() {
    const hash = location.hash;
    unfold(hash);
    if (hash.startsWith("#sample=")) openSample(hash.slice(8).split("/").map(decoded).join("/"));
    else if (hash.startsWith("#samples?")) openView(hash.slice(9));
    else if (hash === "#samples") openView("");
  }

  function option(value, text) {
    const node = make("option", "", text);
    node.value = value;
    return node;
  }

  function fill() {
    for (const flag of data.flags) byId("flag").append(option(flag.name, flag.label));
    data.columns.forEach((name, i) => {
      byId("a").append(option(String(i), name));
      byId("b").append(option(String(i), name));
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
    if (data.columns.length) byId("a").value = "0";
    if (data.columns.length) byId("b").value = String(data.columns.length - 1);
    if (data.judges.length < 2) byId("show").querySelector("option[value=judges]").remove();
    for (const id of CHOICES) byId(id).dataset.first = byId(id).value;
    const widths = data.axes.map((axis) => data.near[axis.name].map((w) => w.toFixed(2)).join(" and ") + (axis === data.axes[0] ? " of the threshold" : "") + " on " + axis.prompts);
    byId("near-note").textContent = "Near: within " + widths.join(" and ") + " prompts, a quarter of a unit or of a standard deviation of the judge's scores, whichever is less.";
  }

  function onKey(event) {
    const at = document.activeElement;
    const types = at && /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName);
    if (types || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/") {
      event.preventDefault();
      byId("search").focus();
    }
  }

  fill();
  for (const id of [...CHOICES, "reveal"]) byId(id).addEventListener("change", restart);
  let timer = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(restart, 60);
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => {
    clear();
    restart();
  });
  byId("previous").addEventListener("click", () => turnTo(state.page - 1));
  byId("next").addEventListener("click", () => turnTo(state.page + 1));
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", follow);
  byId("viewer").hidden = false;
  state.found = selected();
  draw();
  follow();
})();
