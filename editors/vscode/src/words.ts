// What a request's error tells the user. Knows nothing of VS Code.

/** LSP 3.18, `LSPErrorCodes.RequestCancelled`. */
const CANCELLED = -32800;

/** The server's reason in words, without a full stop; null where the user has called it off. */
export function refused(error: unknown): string | null {
    if (typeof error === "object" && error !== null && "code" in error && error.code === CANCELLED) {
        return null;
    }
    const reason = error instanceof Error ? error.message : String(error);
    return reason.replace(/\.$/, "") || "it did not say why nothing was done";
}
