// In place of VS Code's compiled logger: the same functions, writing the same files, unrotated. See fetch-vscode.
const { appendFileSync, mkdirSync } = require("node:fs");
const { dirname } = require("node:path");

const NAMES = ["trace", "debug", "info", "warning", "error", "critical"];

class Logger {
    #file;
    #level = NAMES.indexOf("info");
    #plain = false;

    constructor(_type, _name, file) {
        this.#file = file;
    }

    #write(level, message) {
        if (level >= this.#level) {
            const line = this.#plain ? message : `${new Date().toISOString()} [${NAMES[level]}] ${message}\n`;
            appendFileSync(this.#file, line);
        }
    }

    trace(message) { this.#write(0, message); }
    debug(message) { this.#write(1, message); }
    info(message) { this.#write(2, message); }
    warn(message) { this.#write(3, message); }
    error(message) { this.#write(4, message); }
    critical(message) { this.#write(5, message); }
    getLevel() { return this.#level; }
    setLevel(level) { this.#level = level; }
    clearFormatters() { this.#plain = true; }
    setPattern() {}
    flush() {}
    drop() {}
}

async function createLogger(name, file) {
    mkdirSync(dirname(file), { recursive: true });
    return new Logger("rotating", name, file);
}

// One by one: VS Code imports this as an ES module, and only such names are seen.
exports.version = 0;
exports.setLevel = () => {};
exports.setFlushOn = () => {};
exports.Logger = Logger;
exports.createRotatingLogger = createLogger;
exports.createAsyncRotatingLogger = createLogger;
