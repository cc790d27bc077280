// The live parts of a study's page: three linked planes (niivue) and the film of the projections.
// Without WebGL 2 or this script the still pictures of the page remain.
(async () => {
  "use strict";
  const byId = (name) => document.getElementById(name);
  const show = (name) => { byId(name).hidden = false; };

  const unpack = async (name) => {
    const bytes = Uint8Array.from(atob(byId(name).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  const film = () => {
    const settings = JSON.parse(byId("film-settings").textContent);
    const strip = byId("film-strip"), place = byId("film-place"), button = byId("film-play");
    const turn = (index) => {
      const view = settings[index];
      strip.style.transform = `translateY(${(-100 * index) / settings.length}%)`;
      place.value = String(index);
      byId("film-angle").textContent = view.words;
      byId("film-left").textContent = view.left;
      byId("film-right").textContent = view.right;
    };
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
    };
    button.addEventListener("click", () => {
      if (timer !== null) {
        stop();
        return;
      }
      button.textContent = "Stop";
      timer = setInterval(() => turn((Number(place.value) + 1) % settings.length), 90);
    });
    place.addEventListener("input", () => {
      stop();
      turn(Number(place.value));
    });
    turn(0);
    show("film-controls");
  };

  const viewer = async () => {
    const canvas = byId("viewer-canvas"), settings = JSON.parse(byId("viewer-settings").textContent);
    const [code, uptakeFile, relevanceFile, atlasFile] = await Promise.all(
      ["viewer-code", "viewer-uptake", "viewer-relevance", "viewer-regions"].map(unpack),
    );
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(code);
    document.head.append(script);
    const regions = new Uint8Array(atlasFile), { size, origin, spacing } = settings.grid;

    const view = new niivue.Niivue({
      dragAndDropEnabled: false, isColorbar: false, loadingText: "", logLevel: "silent",
      backColor: [0, 0, 0, 1], crosshairColor: [0.4, 0.9, 0.5, 0.8], fontColor: [1, 1, 1, 1], crosshairWidth: 0.4,
      crosshairWidthUnit: "voxels", multiplanarShowRender: 0, multiplanarLayout: 3, multiplanarEqualSize: false,
      isRadiologicalConvention: settings.radiological, sagittalNoseLeft: true, multiplanarPadPixels: 4,
      showAllOrientationMarkers: true, fontMinPx: 18, forceDevicePixelRatio: 1,
    });
    // The library focuses its canvas: the page must not jump there.
    const focus = canvas.focus.bind(canvas);
    canvas.focus = () => focus({ preventScroll: true });
    // While a page is laid out anew its canvas may have no size for a moment.
    const draw = view.drawScene.bind(view);
    view.drawScene = () => (canvas.clientWidth > 50 && canvas.clientHeight > 50 ? draw() : undefined);
    await view.attachToCanvas(canvas, false);
    for (const [name, colours] of Object.entries(settings.colours)) view.addColormap(name, colours);
    const [low, high] = settings.uptake, [seen, full] = settings.relevance;
    const image = (file, name, colours, opacity, least, most, below) => niivue.NVImage.new(
      file, name, colours, opacity, null, least, most, true, 0.02, false, false, below,
      0, undefined, below ? -least : NaN, below ? -most : NaN,
    );
    view.addVolume(await image(uptakeFile, "uptake.nii", "grey-scale", 1, low, high, ""));
    view.addVolume(await image(relevanceFile, "relevance.nii", "speaks-for", 0.65, seen, full, "speaks-against"));
    view.setSliceType(view.sliceTypeMultiplanar);

    const say = (location) => {
      const [x, y, z] = location.mm;
      const index = [x, y, z].map((mm, axis) => Math.round((mm - origin[axis]) / spacing));
      if (index.some((one, axis) => one < 0 || one >= size[axis])) return;
      const region = settings.regions[regions[index[0] + size[0] * (index[1] + size[1] * index[2])]];
      const side = Math.round(x) === 0 ? "midline" : x < 0 ? "patient’s left" : "patient’s right";
      const [uptake, relevance] = location.values.map((one) => one.value);
      byId("viewer-place").textContent =
        `x ${Math.round(x)} mm (${side}), y ${Math.round(y)}, z ${Math.round(z)} mm` + (region ? ` · ${region}` : "");
      byId("viewer-values").textContent =
        `uptake ${uptake.toFixed(2)} · relevance ${relevance === 0 ? "0" : relevance.toExponential(1)}`;
    };
    view.onLocationChange = say;
    const go = (mm) => {
      view.scene.crosshairPos = view.mm2frac(mm);
      view.createOnLocationChange();
      view.drawScene();
    };
    go(settings.start);
    canvas.blur();

    const opacity = byId("viewer-opacity"), shown = byId("viewer-shown");
    const overlay = () => view.setOpacity(1, shown.checked ? Number(opacity.value) / 100 : 0);
    opacity.addEventListener("input", () => { shown.checked = true; overlay(); });
    shown.addEventListener("change", overlay);
    byId("viewer-scale").addEventListener("change", (event) => view.setColormap(view.volumes[0].id, event.target.value));
    const steps = {
      ArrowLeft: [settings.radiological ? 1 : -1, 0, 0], ArrowRight: [settings.radiological ? -1 : 1, 0, 0],
      ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1],
    };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      view.moveCrosshairInVox(...steps[event.key]);
    });
    for (const button of document.querySelectorAll("button[data-mm]"))
      button.addEventListener("click", () => go(button.dataset.mm.split(" ").map(Number)));
    requestAnimationFrame(() => requestAnimationFrame(() => { byId("viewer").dataset.state = "ready"; }));
  };

  if (byId("film-settings")) film();
  if (!document.createElement("canvas").getContext("webgl2")) {
    byId("viewer").dataset.state = "unavailable";
    show("viewer-missing");
    return;
  }
  show("viewer-live");
  try {
    await viewer();
  } catch (error) {
    byId("viewer-live").hidden = true;
    byId("viewer").dataset.state = "unavailable";
    show("viewer-missing");
  }
})();
