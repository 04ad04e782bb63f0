// Sorting rows of n items (u32) by key, and of equal keys by item, in passes between two lists, `side` 0
// and 1: blocks of BLOCK items first, then merges of two sorted lists into one twice as long. The file that
// uses this has `item(side, at)`, `put_item(side, at, v)` and `item_key(row, item)`. Merged lists are cut
// along the merge path (Green, McColl & Bader 2012), so that each thread makes 16 items of a result.
const BLOCK = 8u;
const MERGED = 16u;

// Passes of merging: ⌈log₂(n / BLOCK)⌉. As many as that make one list; those after it do nothing.
fn merge_levels(n: u32) -> u32 {
  return 32u - countLeadingZeros((max(n, 1u) - 1u) / BLOCK);
}

fn is_after(a: vec2u, b: vec2u) -> bool {
  return a.x > b.x || (a.x == b.x && a.y > b.y);
}

fn in_order(a: ptr<function, vec2u>, b: ptr<function, vec2u>) {
  let x = *a;
  let y = *b;
  let swap = is_after(x, y);
  *a = select(x, y, swap);
  *b = select(y, x, swap);
}

// Past the end of a row come words above all others.
fn first_word(row: u32, i: u32, n: u32) -> vec2u {
  if (i >= n) { return vec2u(0xffffffffu); }
  return vec2u(item_key(row, i), i);
}

// Thread t sorts items 8t … 8t + 7 of the rows, of which there are ⌈n/8⌉ each, into `side`: 19 exchanges.
fn sort_block(t: u32, side: u32, rows: u32, n: u32) {
  let blocks = (n + 7u) / 8u;
  let row = t / max(blocks, 1u);
  if (n == 0u || row >= rows) { return; }
  let i = (t % blocks) * 8u;
  var a = first_word(row, i, n);
  var b = first_word(row, i + 1u, n);
  var c = first_word(row, i + 2u, n);
  var d = first_word(row, i + 3u, n);
  var e = first_word(row, i + 4u, n);
  var f = first_word(row, i + 5u, n);
  var g = first_word(row, i + 6u, n);
  var h = first_word(row, i + 7u, n);
  in_order(&a, &c); in_order(&b, &d); in_order(&e, &g); in_order(&f, &h);
  in_order(&a, &e); in_order(&b, &f); in_order(&c, &g); in_order(&d, &h);
  in_order(&a, &b); in_order(&c, &d); in_order(&e, &f); in_order(&g, &h);
  in_order(&c, &e); in_order(&d, &f);
  in_order(&b, &e); in_order(&d, &g);
  in_order(&b, &c); in_order(&d, &e); in_order(&f, &g);
  let o = row * n + i;
  let here = n - i;
  put_item(side, o, a.y);
  if (here > 1u) { put_item(side, o + 1u, b.y); }
  if (here > 2u) { put_item(side, o + 2u, c.y); }
  if (here > 3u) { put_item(side, o + 3u, d.y); }
  if (here > 4u) { put_item(side, o + 4u, e.y); }
  if (here > 5u) { put_item(side, o + 5u, f.y); }
  if (here > 6u) { put_item(side, o + 6u, g.y); }
  if (here > 7u) { put_item(side, o + 7u, h.y); }
}

fn word_at(side: u32, row: u32, at: u32) -> vec2u {
  let v = item(side, at);
  return vec2u(item_key(row, v), v);
}

// Thread t merges its part of the lists of `width` items on `side`, and writes the other side.
fn merge_pass(t: u32, side: u32, width: u32, rows: u32, n: u32) {
  let parts = (n + MERGED - 1u) / MERGED;
  let row = t / max(parts, 1u);
  if (width >= n || row >= rows) { return; }
  let start = (t % parts) * MERGED;
  let list = start & ~(2u * width - 1u);
  let na = min(width, n - list);
  let nb = min(width, n - list - na);
  let a = row * n + list;
  let b = a + na;
  // How many of the items before this part are of the first list.
  let before = start - list;
  var lo = before - min(before, nb);
  var hi = min(before, na);
  while (lo < hi) {
    let mid = (lo + hi) / 2u;
    if (is_after(word_at(side, row, a + mid), word_at(side, row, b + before - 1u - mid))) { hi = mid; } else { lo = mid + 1u; }
  }
  var i = lo;
  var j = before - lo;
  // Lists that have come to their end lose every comparison.
  var x = vec2u(0xffffffffu);
  var y = vec2u(0xffffffffu);
  if (i < na) { x = word_at(side, row, a + i); }
  if (j < nb) { y = word_at(side, row, b + j); }
  let o = a + before;
  let count = min(MERGED, na + nb - before);
  for (var k = 0u; k < count; k++) {
    if (is_after(x, y)) {
      put_item(1u - side, o + k, y.y);
      j++;
      y = vec2u(0xffffffffu);
      if (j < nb) { y = word_at(side, row, b + j); }
    } else {
      put_item(1u - side, o + k, x.y);
      i++;
      x = vec2u(0xffffffffu);
      if (i < na) { x = word_at(side, row, a + i); }
    }
  }
}
