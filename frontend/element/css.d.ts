/** A stylesheet's text, as the build puts it into a file. */
declare module "*.css" {
  const text: string;
  export default text;
}
