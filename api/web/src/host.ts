/** What the page around an embed is told, in the words WordPress listens for. */

const TALLEST = 600;
const LOWEST = 320;

/** Ask WordPress for a height, and hand it links, which a sandbox cannot open by itself. */
export function speakToHost(): void {
  const secret = /[#?&]secret=([\w-]+)/.exec(location.hash)?.[1];
  if (!secret || parent === self) return;
  const tell = (message: string, value: unknown): void =>
    parent.postMessage({ message, value, secret }, "*");
  const ask = (): void =>
    tell("height", Math.round(Math.min(TALLEST, Math.max(LOWEST, innerWidth * 0.6))));
  ask();
  addEventListener("resize", ask);
  addEventListener("message", (event) => {
    if (event.source === parent && (event.data as { message?: string })?.message === "ready") ask();
  });
  addEventListener("click", (event) => {
    const link = (event.target as Element).closest("a");
    if (!link || new URL(link.href).host !== location.host) return;
    event.preventDefault();
    tell("link", link.href);
  });
}
