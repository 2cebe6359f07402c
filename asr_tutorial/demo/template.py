"""The page's frame; ``@name@`` is where :func:`asr_tutorial.demo.page.write_page` puts things in."""

STYLE = """
:root { --ink: #1d2730; --soft: #5d6b78; --back: #f6f7f8; --card: #ffffff; --line: #dde2e7; --accent: #1b4f72;
        --right: #2f7d6d; --wrong: #c0510a; --wrong-back: #fdeee2; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaee; --soft: #9aa7b3; --back: #14191e; --card: #1d242b; --line: #323c46; --accent: #8ec3e6;
          --right: #6fc3b0; --wrong: #f2a36b; --wrong-back: #43301f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 3rem 0 .4rem; }
h3 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
p { margin: .3rem 0 1rem; max-width: 46rem; }
code { font-size: .92em; }
.lead { font-size: 1.08rem; color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; margin: 1.8rem 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.1rem 1.3rem; }
.number { font-size: 3rem; font-weight: 650; line-height: 1.1; color: var(--accent);
          font-variant-numeric: tabular-nums; }
.number small { font-size: 1.4rem; margin-left: .15rem; }
.name { font-weight: 600; }
.detail, .meta, footer { color: var(--soft); font-size: .9rem; }
.detail { margin-top: .4rem; }
img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 10px;
      padding: .6rem; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(27rem, 1fr)); gap: 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--right);
          border-radius: 8px; padding: .9rem 1.1rem; min-width: 0; }
article.wrong { border-left-color: var(--wrong); }
audio { width: 100%; height: 2.2rem; }
.meta { margin: .3rem 0 .5rem; }
dl { display: grid; grid-template-columns: 3.2rem 1fr; gap: .15rem .4rem; margin: 0; font-size: .95rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
del, ins { text-decoration: none; border-radius: 4px; padding: 0 .25em; }
del { border-bottom: 2px dotted var(--wrong); border-radius: 0; padding: 0; }
ins { background: var(--wrong-back); color: var(--wrong); font-weight: 600; }
.gap { padding: 0 .5em; }
#closeup { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.1rem; }
.words { display: flex; flex-wrap: wrap; gap: .45rem; margin-top: .7rem; }
.word { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 7px;
        padding: .25rem .6rem; cursor: pointer; text-align: center; }
.word small { display: block; color: var(--soft); font-size: .72rem; font-variant-numeric: tabular-nums; }
.word:hover, .word.now { border-color: var(--accent); background: color-mix(in srgb, var(--accent) 16%, transparent); }
footer { margin-top: 3.5rem; border-top: 1px solid var(--line); padding-top: .8rem; overflow-wrap: anywhere; }
@media (max-width: 34rem) { .examples { grid-template-columns: 1fr; } }
"""

SCRIPT = """
const box = document.getElementById("closeup");
if (box) {
  const player = box.querySelector("audio"), words = [...box.querySelectorAll(".word")];
  let stop = Infinity;
  const follow = () => {
    const now = player.currentTime;
    if (now >= stop) { player.pause(); stop = Infinity; }
    for (const word of words)
      word.classList.toggle("now", !player.paused && now >= word.dataset.start && now < word.dataset.end);
    if (!player.paused) requestAnimationFrame(follow);
  };
  player.addEventListener("play", follow);
  player.addEventListener("pause", follow);
  for (const word of words)
    word.addEventListener("click", () => {
      // A CTC token is heard late in its sound: begin a little earlier.
      player.currentTime = Math.max(0, word.dataset.start - 0.1);
      stop = Number(word.dataset.end) + 0.1;
      player.play();
    });
}
"""

PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@title@: what the recogniser learnt</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>What the recogniser learnt</h1>
<p class="lead">@summary@</p>
<div class="figures">@figures@</div>
<p>One model, read in three ways. The attention decoder writes token by token and knows what it has written, so that it
also learns how sentences go. The CTC head judges each moment of sound without looking at what it has said, and so
measures hearing alone. The beam search asks both: a sentence must please them together.</p>

<h2>How it learnt</h2>
@curves@

<h2>Listen and compare</h2>
<p>Examples spread over the test set. Where the two differ, what was said is <del>dotted</del> and what was
heard is <ins>marked</ins>.</p>
<div class="examples">@examples@</div>

<h2>The worst mistakes</h2>
<div class="examples">@worst@</div>

<h2>A closer look at one sentence</h2>
@close_up@

<footer>@environment@</footer>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
