// What the user can know about the server at a glance. Knows nothing of VS Code.

/**
 * `starting` is the process, `loading` its model; `asleep`: the model is not in memory until it is wanted; `missing`: no
 * server was found.
 */
export type Kind = "off" | "missing" | "starting" | "asleep" | "loading" | "ready" | "busy" | "error";

export interface State {
    readonly kind: Kind;
    /** One sentence for the user, or nothing. */
    readonly message: string;
    /** Whether the model does what it is told in words; known once it is ready. */
    readonly instructions?: boolean;
}

const WORDS: Readonly<Record<Kind, string>> = {
    off: "off",
    missing: "not installed",
    starting: "starting",
    asleep: "asleep until you type",
    loading: "loading the model",
    ready: "ready",
    busy: "busy",
    error: "not working",
};

/** The parameters of a `midspan/status` notification; null when a newer server says what is not understood here. */
export function asState(params: unknown): State | null {
    const { kind, message, instructions } = (params ?? {}) as Record<string, unknown>;
    if (typeof kind !== "string" || !Object.hasOwn(WORDS, kind)) {
        return null;
    }
    const state = { kind: kind as Kind, message: typeof message === "string" ? message : "" };
    return instructions === true ? { ...state, instructions } : state;
}

/** The state in a few words; never empty. */
export function describe(state: State): string {
    return state.message ? `${WORDS[state.kind]}: ${state.message}` : WORDS[state.kind];
}
