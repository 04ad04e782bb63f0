import type { StudyEntry } from "../core/study.ts";

/** The papers that `tilegrad run` knows; a study's code is loaded only when it is run. */
export const studies: readonly StudyEntry[] = [];
