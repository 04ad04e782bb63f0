// For editors only. The build passes RELAXED to the compiler as a constant (asconfig.json), so
// sources use the bare name; declaring it again in a source would make it a module import.
declare const RELAXED: i32;
