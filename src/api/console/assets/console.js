// What a page can do more with script: follow what changes, remember a theme and a time zone, copy a command, move
// by keys. Every page reads and acts without it.
"use strict";
(() => {
  const root = document.documentElement;
  const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private mode */ } };
  const policy = window.trustedTypes
    ? trustedTypes.createPolicy("kasparro", { createHTML: (text) => text })
    : { createHTML: (text) => text };

  // Theme: as the system has it, light, dark.
  const themes = ["", "light", "dark"];
  const showTheme = () => {
    const theme = kept("theme") || "";
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = "Theme: " + (theme || "system");
  };

  // Buttons that do nothing without script.
  const showButtons = () => {
    for (const hidden of document.querySelectorAll("[data-script]")) hidden.hidden = false;
  };

  // Times: UTC or those of this browser.
  const showTimes = () => {
    const local = kept("times") === "local";
    const button = document.getElementById("times");
    if (button) button.textContent = local ? "Local time" : "UTC";
    for (const time of document.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      const text = local
        ? at.toLocaleString("sv-SE")
        : at.toISOString().replace("T", " ").slice(0, 19);
      if (time.classList.contains("exact")) time.textContent = text;
      else time.title = text + (local ? "" : " UTC");
    }
  };

  // The page asks for its own address again and takes over what differs.
  const say = (word) => {
    const live = document.getElementById("live");
    if (live && live.textContent !== word) live.textContent = word;
  };
  let asking = false, again = false;
  const refresh = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Kasparro-Refresh": "1" } });
      if (answer.redirected && new URL(answer.url).pathname.startsWith("/ui/login")) {
        say("○ signed out"); stop(); return;
      }
      if (!answer.ok && answer.status !== 503) return;
      const page = new DOMParser().parseFromString(policy.createHTML(await answer.text()), "text/html");
      const [now, next] = [document, page].map((of) => of.querySelector("main"));
      if (now && next) {
        Idiomorph.morph(now, next, {
          ignoreActiveValue: true,
          callbacks: {
            // What the reader has opened or ticked stays so.
            beforeAttributeUpdated: (name, node) =>
              !(name === "open" && node.tagName === "DETAILS")
              && !((name === "checked" || name === "value") && node.tagName === "INPUT"),
          },
        });
      }
      document.title = page.title;
      showButtons(); showTimes();
    } catch { /* the stream says that the server is away */ } finally {
      asking = false;
      if (again) { again = false; refresh(); }
    }
  };

  let stream = null, lost = null, paused = kept("live") === "paused";
  const stop = () => { if (stream) stream.close(); stream = null; };
  const follow = () => {
    const topics = root.dataset.topics;
    if (!topics) return say("");
    if (paused) { stop(); return say("❚❚ paused"); }
    if (document.hidden || stream) return;
    stream = new EventSource("/ui/stream?topics=" + encodeURIComponent(topics));
    stream.onopen = () => { lost = null; say("● live"); };
    // From here on changes are told; what changed since the page was made is seen now.
    stream.addEventListener("hello", refresh);
    stream.addEventListener("changed", refresh);
    stream.onerror = () => {
      lost = lost || Date.now();
      if (stream && stream.readyState === EventSource.CLOSED) { stop(); setTimeout(follow, 5000); }
      say("○ reconnecting");
    };
  };
  setInterval(() => {
    if (lost && stream) say("○ reconnecting since " + Math.round((Date.now() - lost) / 1000) + " s");
  }, 1000);
  document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else follow(); });

  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text; document.body.append(area); area.select();
    document.execCommand("copy"); area.remove();
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.id === "theme") {
      keep("theme", themes[(themes.indexOf(kept("theme") || "") + 1) % themes.length]); showTheme();
    } else if (button.id === "times") {
      keep("times", kept("times") === "local" ? "utc" : "local"); showTimes();
    } else if (button.id === "pause-live") {
      paused = !paused; keep("live", paused ? "paused" : "on");
      button.textContent = paused ? "Follow" : "Pause"; if (!paused) refresh(); follow();
    } else if (button.dataset.copy) {
      await copy(button.dataset.copy);
      const said = button.textContent; button.textContent = "Copied";
      setTimeout(() => { button.textContent = said; }, 1500);
    }
  });

  // `/` finds, `j` and `k` move over items, Enter opens one, `e` is what an item offers.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    if (event.key === "/") {
      const find = document.querySelector("main input[type=search], main input[type=text]");
      if (find) { event.preventDefault(); find.focus(); }
      return;
    }
    const items = [...document.querySelectorAll("[data-item]")];
    const at = items.indexOf(document.activeElement.closest("[data-item]"));
    if (event.key === "j" || event.key === "k") {
      const next = items[at + (event.key === "j" ? 1 : -1)] || (at < 0 ? items[0] : null);
      if (next) next.focus();
    } else if (at >= 0 && event.key === "Enter" && document.activeElement === items[at]) {
      const link = items[at].querySelector("a"); if (link) link.click();
    } else if (at >= 0 && event.key === "e") {
      const act = items[at].querySelector("[data-key=e]");
      if (act) { event.preventDefault(); act.focus(); if (act.tagName !== "INPUT") act.click(); }
    }
  });

  const pause = document.getElementById("pause-live");
  if (pause && paused) pause.textContent = "Follow";
  showTheme(); showButtons(); showTimes(); follow();
})();
