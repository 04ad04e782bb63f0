/** `import source from "../wgsl/x.wgsl"` gives the shader text, its `//! use` lines expanded. */
declare module "*.wgsl" {
  const text: string;
  export default text;
}
