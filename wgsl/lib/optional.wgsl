// What a call may do without: adding to what an output holds, and optional inputs. A branch on that costs a CPU adapter
// both of its sides, so where a call does without, its constant here is set to 0 and the text behind it falls away.
const ADDS = 1u;
const PRESENT = 1u;

fn adds(beta: f32) -> bool { return ADDS != 0u && beta != 0.0; }
fn has(present: u32) -> bool { return PRESENT != 0u && present != 0u; }
