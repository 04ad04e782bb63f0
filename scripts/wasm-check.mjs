// Reads just enough of a wasm binary to check what an embedder relies on. Node 20 cannot compile
// the relaxed builds, so WebAssembly.Module.imports is of no use for them.

/**
 * @typedef {{ module: string, name: string, kind: number,
 *   memory?: { initial: number, maximum?: number, shared: boolean } }} Import
 */

/**
 * The imports, and the first byte after the static data.
 *
 * @param {Uint8Array} bytes
 * @returns {{ imports: Import[], dataEnd: number }}
 */
export function inspectWasm(bytes) {
  let at = 8; // after magic and version
  const u32 = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const text = () => {
    const length = u32();
    at += length;
    return new TextDecoder().decode(bytes.subarray(at - length, at));
  };
  const limits = () => {
    const flags = bytes[at++];
    const initial = u32();
    return { initial, maximum: flags & 1 ? u32() : undefined, shared: (flags & 2) !== 0 };
  };

  /** @type {Import[]} */
  const imports = [];
  let dataEnd = 0;
  while (at < bytes.length) {
    const section = bytes[at++];
    const end = u32() + at;
    if (section === 2) {
      for (let count = u32(); count > 0; count--) {
        /** @type {Import} */
        const entry = { module: text(), name: text(), kind: bytes[at++] };
        if (entry.kind === 2) entry.memory = limits();
        else if (entry.kind === 0) u32();
        else if (entry.kind === 3) at += 2;
        else throw new Error(`unexpected import ${entry.module}.${entry.name}`);
        imports.push(entry);
      }
    } else if (section === 11) {
      for (let count = u32(); count > 0; count--) {
        // 0 = active in memory 0, offset given as (i32.const n); 1 = passive
        const active = u32() === 0;
        if (active) at++;
        const offset = active ? u32() : 0;
        if (active) at++;
        const size = u32();
        at += size;
        if (active) dataEnd = Math.max(dataEnd, offset + size);
      }
    }
    at = end;
  }
  return { imports, dataEnd };
}

/** What core's memory plan leaves to a module's constants: the first page. */
const STATIC_LIMIT = 65536;

/**
 * Throws unless the module keeps the promises of its build: nothing imported (single) or one
 * shared memory (threads), constants within the first page, no relaxed opcode in the baseline.
 *
 * @param {string} target a target of asconfig.json
 * @param {Uint8Array} bytes
 * @param {any} wabt
 */
export function checkWasm(target, bytes, wabt) {
  const { imports, dataEnd } = inspectWasm(bytes);
  const threads = target.endsWith(".threads");
  const names = imports.map((i) => `${i.module}.${i.name}`);
  const expected = threads ? "env.memory" : "";
  if (names.join() !== expected) {
    const hint = names.some((n) => n.endsWith(".RELAXED"))
      ? ' (remove "declare const RELAXED" from that source: wasm/globals.d.ts has it)'
      : "";
    throw new Error(`imports [${names}], expected [${expected}]${hint}`);
  }
  if (threads && !imports[0].memory?.shared) throw new Error("env.memory is not shared");
  if (dataEnd > STATIC_LIMIT) {
    throw new Error(`static data ends at ${dataEnd}, limit ${STATIC_LIMIT}`);
  }

  // reading fails at an opcode of a feature that is off, which is the check (wabt's validate() does
  // not take features and calls every shared memory an error)
  wabt.readWasm(bytes, { threads, relaxed_simd: target.startsWith("relaxed") }).destroy();
}
