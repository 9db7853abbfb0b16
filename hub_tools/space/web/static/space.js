// What gradio does not do: lists that refresh themselves, and answers by keyboard that outlive a restart of the server.
// The HTML that is put into the page comes from our server, which has escaped every text of a release in it.
window.hfRelabel = (() => {
  "use strict";
  const PENDING = "hf-relabel-pending";
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  // Whether somebody chose a row, here or by the address: the one that is open at first does not move the page.
  let opening = new URLSearchParams(window.location.search).has("row");
  const chosen = () => { opening = true; };

  // Lists and rows: the address follows what is shown, an unfinished list asks again, a chosen row comes into view.
  function shown(element, trigger, watch) {
    const follow = () => {
      const list = element.querySelector(".hr-list");
      const row = element.querySelector("article[data-row]");
      const address = new URLSearchParams(window.location.search);
      if (list) {
        const query = new URLSearchParams(list.dataset.address);
        query.get("q") ? address.set("q", query.get("q")) : address.delete("q");
      }
      if (row) address.set("row", row.dataset.row);
      if (list || row) window.history.replaceState(null, "", `${window.location.pathname}?${address}`);
      if (row) mark(row.dataset.row);
      if (row && element.dataset.row !== row.dataset.row) {
        if (opening) reveal(element);
        opening = false;
        element.dataset.row = row.dataset.row;
      }
      if (element.querySelector("[data-unfinished]")) window.setTimeout(again, 600);
    };
    const again = () => {
      const unfinished = element.querySelector("[data-unfinished]");
      if (unfinished) trigger("turn", { offset: unfinished.dataset.offset || "0" });
    };
    watch("value", follow);
    follow();
  }

  function mark(number) {
    document.querySelectorAll("#hr-found .hr-line").forEach((line) => {
      line.dataset.row === number ? line.setAttribute("aria-current", "true") : line.removeAttribute("aria-current");
    });
  }

  function reveal(element) {
    const top = element.getBoundingClientRect().top;
    if (top < 0 || window.innerWidth < 900) element.scrollIntoView({ block: "start" });
  }

  // A page that asks the server again and again, and keeps what it has while the server does not answer.
  function live(element, ask, milliseconds) {
    let last = null;
    const once = async () => {
      if (!document.hidden) {
        try {
          const html = await ask(null);
          if (html !== last) element.innerHTML = last = html;
          element.removeAttribute("data-offline");
        } catch {
          element.setAttribute("data-offline", "1");
        }
      }
      if (element.isConnected) window.setTimeout(once, milliseconds);
    };
    once();
  }

  // Blind adjudication. One request at a time; an answer is kept in the tab until the server has confirmed it.
  function adjudicate(element, server) {
    element.innerHTML = '<div class="hr-adjudicate"><div data-part="progress"></div>'
      + '<div class="hr-notice hr-warn" data-part="offline" role="alert" hidden>The server cannot be reached and is asked'
      + ' again. Your last answer is kept in this tab until it has arrived.</div><div data-part="question" aria-live="polite"></div></div>';
    const part = (name) => element.querySelector(`[data-part="${name}"]`);
    let busy = false;
    let person = null;
    const answered = [];

    const ask = async (message) => {
      for (let wait = 300; ; wait = Math.min(wait * 2, 4000)) {
        try {
          const reply = await server.adjudicate(message);
          if (!reply || typeof reply.state !== "string") throw new Error("no reply");
          part("offline").hidden = true;
          return reply;
        } catch {
          part("offline").hidden = false;
          await sleep(wait);
        }
      }
    };

    // A server that has just been started does not take an answer until it has its sample again.
    const taken = async (message) => {
      let reply = await ask(message);
      while (message.do === "answer" && reply.state === "waiting") {
        await sleep(500);
        reply = await ask(message);
      }
      return reply;
    };

    const show = (reply) => {
      person = reply.person;
      part("progress").innerHTML = reply.progress;
      if (reply.question !== null) {
        part("question").innerHTML = reply.question;
        part("question").dataset.state = reply.state;
      }
    };

    const send = async (message) => {
      if (busy) return;
      busy = true;
      element.querySelectorAll("button").forEach((button) => { button.disabled = true; });
      if (message.do === "answer") {
        window.sessionStorage.setItem(PENDING, JSON.stringify({ ...message, person }));
      }
      const reply = await taken(message);
      if (message.do === "answer") {
        window.sessionStorage.removeItem(PENDING);
        answered.push(message.item);
      }
      if (message.do === "undo") answered.pop();
      show(reply);
      busy = false;
      if (message.do !== "progress" && part("question").getBoundingClientRect().top < 0) {
        element.scrollIntoView({ block: "start" });
      }
      if (reply.state === "waiting") window.setTimeout(() => send({ do: "show" }), 500);
    };

    const start = async () => {
      busy = true;
      let reply = await ask({ do: "show" });
      const pending = JSON.parse(window.sessionStorage.getItem(PENDING) || "null");
      if (pending && reply.person !== null && pending.person === reply.person) {
        show(reply);
        reply = await taken(pending);
      }
      window.sessionStorage.removeItem(PENDING);
      show(reply);
      busy = false;
      if (reply.state === "waiting") window.setTimeout(() => send({ do: "show" }), 500);
    };

    const answer = (value) => {
      const item = element.querySelector("[data-item]");
      if (item) send({ do: "answer", item: item.dataset.item, value });
    };

    element.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button || button.disabled) return;
      if (button.dataset.answer) answer(button.dataset.answer);
      if (button.dataset.undo) send({ do: "undo", item: answered[answered.length - 1] });
    });

    document.addEventListener("keydown", (event) => {
      if (!element.isConnected || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
      const key = event.key.toLowerCase();
      const button = [...element.querySelectorAll("button")].find(
        (each) => each.querySelector("kbd") && each.querySelector("kbd").textContent === key,
      );
      if (button && !button.disabled) {
        event.preventDefault();
        button.click();
      }
    });

    const poll = async () => {
      if (!busy && !document.hidden && person !== null && element.querySelector("[data-item]")) {
        try {
          const reply = await server.adjudicate({ do: "progress" });
          if (!busy && reply.state === "asking") part("progress").innerHTML = reply.progress;
        } catch {
          // The next answer says so.
        }
      }
      if (element.isConnected) window.setTimeout(poll, 3000);
    };

    start();
    window.setTimeout(poll, 3000);
  }

  return { adjudicate, chosen, live, shown };
})();
